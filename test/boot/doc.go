// Package boot has the tests that boot their host: a program that exits with
// testhost.ExitReboot or testhost.ExitPowerLoss is run again after the boot.
package boot
