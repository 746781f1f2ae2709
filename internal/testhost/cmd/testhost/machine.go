package main

import (
	"os"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/internal/testhost"
)

// machineCommand returns the command that runs one program in a virtual machine.
func machineCommand() *cobra.Command {
	var host hostFlags
	var machine testhost.Machine
	cmd := &cobra.Command{
		Use:   "machine [flags] -- PROGRAM [ARGUMENT...]",
		Short: "Boot a virtual machine, run a program in it, and clean up",
		Long: `Boots a virtual machine that is made of a host's tree, runs PROGRAM in it as root
and streams its output. It exits with the program's exit code, or with 125 if the
machine failed. Where /dev/kvm cannot be opened, its processor is emulated, some twenty times
slower.

In the program's environment SIDECAR_TESTHOST is 1, and SIDECAR_TESTHOST_MACHINE is the
machine's name.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if machine.Config, err = host.config(); err != nil {
				return err
			}
			machine.Program, machine.Args, machine.Output = args[0], args[1:], os.Stdout
			code, err := testhost.RunMachine(cmd.Context(), machine)
			if err == nil && code != 0 {
				return exitError(code)
			}
			return err
		},
	}
	host.add(cmd)
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the program's flags are its own
	flags.StringVar(&machine.Name, "machine", "", "`name` of a machine in the specification")
	flags.StringVar(&machine.TestData, "testdata", "", "`directory` to copy into the program's working directory, if it exists")
	return cmd
}
