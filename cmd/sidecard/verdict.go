package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// verdict says how the running daemon's reloads ended. The daemon writes it to a file, and
// sidecard -reload reads it there: a signal has no answer.
type verdict struct {
	Begun int    `json:"begun"` // how many reloads have begun
	Ended int    `json:"ended"` // and how many of them have ended
	Error string `json:"error"` // of the last that has ended; "" if there was none
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

// write puts the verdict in the place of the one before, or else deletes that: it may be
// of another daemon, and must not be taken for an answer of this one.
func (v verdict) write(runtimeDirectory string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := verdictPath(runtimeDirectory)
	err = os.WriteFile(path+".new", text, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	return nil
}
