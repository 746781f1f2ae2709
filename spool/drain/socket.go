package drain

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tripleo.io/sidecar/interfaces"
)

// OpenSocket opens the socket in an agent's directory, to connect to what was
// opened (O_PATH, open(2)). The agent's container may be able to write into that
// directory: a link in the socket's place is not followed, since it could lead to
// another agent's socket, or to the host's, where root may do anything. A socket of
// the agent's own answers nobody but the agent.
func OpenSocket(directory string) (*os.File, error) {
	dir, err := os.OpenFile(directory, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	socket, err := openBeneath(dir, interfaces.Name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	st, err := statOf(socket)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = fmt.Errorf("%s in %s is no socket", interfaces.Name, directory)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}
