package twin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/varlink"
)

// listen serves the core on a socket of the caller's, as the daemon does.
func listen(t *testing.T, h *host, who caller) (path string) {
	t.Helper()
	server, err := varlink.NewServer(varlink.Config{
		Vendor: "TripleO", Product: "sidecar", Version: "test", URL: "https://tripleo.io/sidecar",
		Interface: varlink.Sidecars(h.core), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(directory(t), "socket")
	listener, err := varlink.Bind(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(context.Background(), listener, who.agent)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shut the server down: %v", err)
		}
		<-ended
	})
	return path
}

// frame is a message of varlink: https://varlink.org/Method-Call.
type frame struct {
	Method     string          `json:"method,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	More       bool            `json:"more,omitempty"`
	Continues  bool            `json:"continues,omitempty"`
	Error      string          `json:"error,omitempty"`
}

// overVarlink writes and reads the messages itself.
func overVarlink(t *testing.T, _ *suite, h *host, who caller) call {
	path := listen(t, h, who)
	return func(ctx context.Context, r request) (any, error) {
		conn, err := dialAs(who.uid, path)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		return exchange(conn, r)
	}
}

// many are the methods with more than one reply.
var many = []string{"List", "ListProfiles", "Monitor", "ReadLog"}

func exchange(conn net.Conn, r request) (any, error) {
	parameters, err := json.Marshal(r.parameters)
	if err != nil {
		return nil, err
	}
	message, err := json.Marshal(frame{
		Method: interfaces.Name + "." + r.method, Parameters: parameters, More: slices.Contains(many, r.method),
	})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(message, 0)); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	receive := func() (frame, error) { return receive(in) }
	switch r.method {
	case "Launch":
		return one[interfaces.LaunchReply](receive)
	case "Explain":
		return one[interfaces.ExplainReply](receive)
	case "Stop":
		return one[interfaces.StopReply](receive)
	case "Signal":
		return one[interfaces.SignalReply](receive)
	case "List":
		return each(receive, func(r interfaces.ListReply) interfaces.Sidecar { return r.Sidecar })
	case "ListProfiles":
		return each(receive, func(r interfaces.ListProfilesReply) interfaces.Profile { return r.Profile })
	case "Monitor":
		return stateOf(func(take func(interfaces.Event) error) error { return stream(receive, take) })
	case "ReadLog":
		return readLog(receive)
	}
	f, err := receive()
	return f, err
}

// receive reads a reply; an error reply is the error.
func receive(in *bufio.Reader) (frame, error) {
	var f frame
	text, err := in.ReadBytes(0)
	if err == nil {
		err = json.Unmarshal(text[:len(text)-1], &f)
	}
	if err != nil || f.Error == "" {
		return f, err
	}
	if err, ok := interfaces.FromVarlink(f.Error, f.Parameters); ok {
		return f, err
	}
	return f, fmt.Errorf("unknown error %s", f.Error)
}

func one[T any](receive func() (frame, error)) (any, error) {
	var reply T
	f, err := receive()
	if err == nil {
		err = json.Unmarshal(f.Parameters, &reply)
	}
	if err == nil && f.Continues {
		err = fmt.Errorf("more replies than one")
	}
	return answered(reply, err)
}

func each[R, T any](receive func() (frame, error), carried func(R) T) (any, error) {
	var all []T
	for {
		var reply R
		f, err := receive()
		if err == nil {
			err = json.Unmarshal(f.Parameters, &reply)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, carried(reply))
		if !f.Continues {
			return all, nil
		}
	}
}

func stream(receive func() (frame, error), take func(interfaces.Event) error) error {
	for {
		var reply interfaces.MonitorReply
		f, err := receive()
		if err == nil {
			err = json.Unmarshal(f.Parameters, &reply)
		}
		if err == nil {
			err = take(reply.Event)
		}
		if err != nil {
			return err
		}
	}
}

// readLog reads a log: entries, and nothing at their end.
func readLog(receive func() (frame, error)) (any, error) {
	entries := []interfaces.LogEntry{}
	for {
		var reply interfaces.ReadLogReply
		f, err := receive()
		if err == nil {
			err = json.Unmarshal(f.Parameters, &reply)
		}
		switch {
		case err != nil:
			return nil, err
		case reply.Entry != nil && f.Continues:
			entries = append(entries, *reply.Entry)
		case reply.Entry != nil:
			return nil, fmt.Errorf("the last reply has an entry")
		case !f.Continues:
			return &entries, nil
		}
	}
}
