package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tripleo.io/sidecar/client"
	"tripleo.io/sidecar/client/dbus"
	"tripleo.io/sidecar/internal/doctor"
	"tripleo.io/sidecar/internal/paths"
	"tripleo.io/sidecar/service/engine/podman"
	"tripleo.io/sidecar/service/imagestore"
	"tripleo.io/sidecar/service/ociruntime"
	"tripleo.io/sidecar/service/policy"
)

// lookLimit is how long a look may take. Each of its few calls has a limit of its own.
const lookLimit = 20 * time.Second

// unwellError says what doctor has found. The findings are printed already.
type unwellError struct{ errors, warnings int }

func (e *unwellError) Error() string {
	return fmt.Sprintf("this host is not well (errors: %d, warnings: %d)", e.errors, e.warnings)
}

func newDoctor(t *tool) *cobra.Command {
	var here bool
	var about strings.Builder
	var names []string
	for _, look := range doctor.Looks {
		names = append(names, look.Name)
		fmt.Fprintf(&about, "\n    %-11s %s", look.Name, strings.ReplaceAll(look.About, "\n", "\n"+strings.Repeat(" ", 16)))
	}
	cmd := &cobra.Command{
		Use:   "doctor [LOOK…]",
		Short: "Find what is out of line on this host, and say how to mend it",
		Long: `Look at what runs on this host. For each thing that is out of line, print what is
wrong and what to do, with the commands; nothing is changed. With names of looks, only
these are done. 'sidecarctl check' is about files: the policy, and whether the host is
large enough for it.

The looks:
` + about.String() + `

Each look has a process of its own and 20 s; a look that needs root or does not answer
in time is a warning. The exit code is 0 if nothing but notes was found, 7 with
warnings, and 8 with errors. With -o json the result is an array of objects with
level (error, warning or note), look, subject, problem and advice.`,
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			looks, err := chosen(args)
			if err != nil {
				return err
			}
			examine := t.apart
			if here {
				examine = t.here
			}
			findings := examineAll(cmd.Context(), looks, examine)
			t.out.findings(findings)
			return verdict(findings)
		},
	}
	cmd.Flags().BoolVar(&here, "here", false, "do the looks in the process itself and without a limit of time, to see what a look waits for")
	return cmd
}

// chosen returns the looks of these names, all without a name.
func chosen(names []string) ([]doctor.Look, error) {
	if len(names) == 0 {
		return doctor.Looks, nil
	}
	var looks []doctor.Look
	for _, name := range names {
		i := slices.IndexFunc(doctor.Looks, func(l doctor.Look) bool { return l.Name == name })
		if i < 0 {
			return nil, &usageError{fmt.Sprintf("%.40q is not a look; 'sidecarctl doctor --help' lists them", name)}
		}
		looks = append(looks, doctor.Looks[i])
	}
	return looks, nil
}

// examineAll does the looks at the same time, and returns their findings in the looks' order.
func examineAll(ctx context.Context, looks []doctor.Look, examine func(context.Context, doctor.Look) []doctor.Finding) []doctor.Finding {
	found := make([][]doctor.Finding, len(looks))
	var wait sync.WaitGroup
	for i, look := range looks {
		wait.Go(func() {
			if look.Root && os.Geteuid() != 0 {
				found[i] = []doctor.Finding{look.Unseen("only root can see it")}
				return
			}
			found[i] = examine(ctx, look)
		})
	}
	wait.Wait()
	return append([]doctor.Finding{}, slices.Concat(found...)...)
}

// verdict is an error if any finding is more than a note.
func verdict(findings []doctor.Finding) error {
	var e unwellError
	for _, f := range findings {
		switch f.Level {
		case doctor.Error:
			e.errors++
		case doctor.Warning:
			e.warnings++
		}
	}
	if e == (unwellError{}) {
		return nil
	}
	return &e
}

// apart does a look in a process of its own. If it does not end in time, it is left behind: a
// process that waits for a file system need not end even when it is killed.
func (t *tool) apart(ctx context.Context, look doctor.Look) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	cmd := exec.Command("/proc/self/exe", "doctor", "--here", "--output=json", "--address="+t.address, look.Name)
	cmd.Args[0] = os.Args[0]
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return []doctor.Finding{look.Unseen(err.Error())}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the exit code says nothing that the findings do not
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return []doctor.Finding{look.Unseen("it has not ended in time")}
	}
	var findings []doctor.Finding
	if err := json.Unmarshal(stdout.Bytes(), &findings); err != nil {
		return []doctor.Finding{look.Unseen("it has failed: " + oneLine(stderr.String()))}
	}
	return findings
}

// here does a look in this process.
func (t *tool) here(ctx context.Context, look doctor.Look) []doctor.Finding {
	service, err := client.New(t.address)
	if err != nil {
		return []doctor.Finding{look.Unseen(err.Error())}
	}
	bus, _ := dbus.New("") // the default address is good
	host := &doctor.Host{
		Service: service,
		Bus:     bus,
		Policy:  func() (*policy.Set, error) { return policy.Load(paths.Vendor, paths.Host) },
		Run:     doctor.Run,
		Images:  imagestore.Host().IDs,
		Runtime: ociruntime.Find,
		Podman: func(ctx context.Context) ([]podman.Container, error) {
			return podman.Containers(ctx, "podman")
		},
	}
	return host.Look(ctx, look)
}
