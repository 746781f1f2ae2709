package metrics

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/common/expfmt"
)

// format is Prometheus's text format.
var format = expfmt.NewFormat(expfmt.TypeTextPlain)

// fileMode lets node_exporter read, which is a user of its own.
const fileMode fs.FileMode = 0o644

// KeepFile writes the metrics to a file at every interval until ctx ends. It logs an error once
// until a write succeeds.
func (m *Metrics) KeepFile(ctx context.Context, path string, interval time.Duration, logger *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failed := false
	for {
		err := m.writeFile(path)
		if err != nil && !failed {
			logger.Error("cannot write the metrics; it is tried again", "error", err, "every", interval)
		}
		failed = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// writeFile replaces the file. The directory may be another user's, so nothing in it is
// followed, and the mode is set through the descriptor.
func (m *Metrics) writeFile(path string) error {
	text, err := m.text()
	if err != nil {
		return err
	}
	next := path + ".new" // node_exporter reads only *.prom
	_ = os.Remove(next)
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Chmod(fileMode) // whatever the umask is
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}

// text is the exposition of all metrics.
func (m *Metrics) text() ([]byte, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}
