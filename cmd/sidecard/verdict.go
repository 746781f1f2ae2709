package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// verdict says how the running daemon's reloads ended. The daemon writes it to a file, and
// sidecard -reload reads it there: a signal has no answer.
type verdict struct {
	Begun int    `json:"begun"` // how many reloads have begun
	Ended int    `json:"ended"` // the number of the last one that has ended, and whose begin was written
	Error string `json:"error"` // of that one; "" if there was none
}

func verdictPath(runtimeDirectory string) string {
	return filepath.Join(runtimeDirectory, "reload.json")
}

func readVerdict(runtimeDirectory string) (verdict, error) {
	var v verdict
	path := verdictPath(runtimeDirectory)
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return v, fmt.Errorf("what sidecard says of its reloads: %w", err)
	}
	return v, nil
}

// forgetVerdict deletes the verdict of the daemon before, which must not be taken for an
// answer of this one.
func forgetVerdict(runtimeDirectory string) error { return os.RemoveAll(verdictPath(runtimeDirectory)) }

// write puts the verdict in the place of the one before, which stays if that fails.
func (v verdict) write(runtimeDirectory string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := verdictPath(runtimeDirectory)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
