// Package clienttest is a varlink service that answers from a script, for the
// tests of programs that use package client. It starts nothing and keeps no state,
// and so does not replace a test against the real service.
package clienttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// UnexpectedCall is the name of the error of a call that is not in the script.
const UnexpectedCall = "test.UnexpectedCall"

// Server answers calls on a unix socket until it is closed.
type Server struct {
	listener net.Listener
	script   Script
	work     sync.WaitGroup

	mu         sync.Mutex
	conns      map[net.Conn]bool // nil once closed
	asked      []bool            // by exchange
	unexpected []string
}

// Listen starts a server on a new socket at path.
func Listen(path string, script Script) (*Server, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	s := &Server{
		listener: listener,
		script:   script,
		conns:    map[net.Conn]bool{},
		asked:    make([]bool, len(script)),
	}
	s.work.Go(s.accept)
	return s, nil
}

// Close ends every connection. The error names the calls that came and are not in the
// script, and those in the script that never came.
func (s *Server) Close() error {
	_ = s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.work.Wait()
	var errs []error
	for _, call := range s.unexpected {
		errs = append(errs, fmt.Errorf("a call that is not in the script: %s", call))
	}
	for i, asked := range s.asked {
		if !asked {
			errs = append(errs, fmt.Errorf("a call that never came: %v", s.script[i].Request))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if s.keep(conn) {
			s.work.Go(func() { s.serve(conn) })
		}
	}
}

func (s *Server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = conn.Close()
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		frame, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		e := s.answer(frame[:len(frame)-1])
		for _, reply := range e.Replies {
			if _, err := io.WriteString(conn, reply+"\x00"); err != nil {
				return
			}
		}
		if e.HangUp {
			return
		}
	}
}

func (s *Server) answer(request []byte) Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.script.find(request)
	if i < 0 {
		s.unexpected = append(s.unexpected, string(request))
		return Exchange{Replies: []string{`{"error": "` + UnexpectedCall + `"}`}}
	}
	s.asked[i] = true
	return s.script[i]
}
