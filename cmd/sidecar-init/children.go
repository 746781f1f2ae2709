package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// children lists the living children of a process, the oldest number first; proc
// is where procfs is mounted.
func children(proc string, parent int) ([]int, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(proc + "/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		state, ppid, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("process %d: %v", pid, err)
		}
		if ppid == parent && state != "Z" {
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found, nil
}

// parseStat takes the state and the parent out of /proc/PID/stat
// (proc_pid_stat(5)). A name may hold anything, so its end is the last ')'.
func parseStat(text string) (state string, parent int, err error) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("no state and parent in %.100q", text)
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}
