package service

import (
	"crypto/sha256"
	"runtime"
	"sync"
	"unique"
	"weak"

	"tripleo.io/sidecar/interfaces"
	"tripleo.io/sidecar/service/document"
	"tripleo.io/sidecar/service/engine"
	"tripleo.io/sidecar/service/systemd"
)

// unitDocument has the parts of a unit's document that the core needs: the request, which
// List answers, and some facts. Nobody changes it.
type unitDocument struct {
	ok         bool // the document could be read
	context    interfaces.Context
	image      string
	engineName string
	runtime    string // path of the OCI runtime
	engine     engine.Engine
	probed     bool // its health is known
}

// Documents decodes the documents of units. Units with the same document share what it
// returns, as does a unit that is read again: package systemd's cache, the events and the
// D-Bus twin hold one copy of a request, whenever each of them read the unit. The zero value
// is ready.
type Documents struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[unitDocument] // by environmentSum
}

// Digest is a systemd.Config.Digest.
func (d *Documents) Digest(environment []string) any {
	sum := environmentSum(environment)
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.known[sum].Value(); known != nil {
		return known
	}
	read := readDocument(environment)
	if d.known == nil {
		d.known = map[[sha256.Size]byte]weak.Pointer[unitDocument]{}
	}
	d.known[sum] = weak.Make(read)
	runtime.AddCleanup(read, d.forget, sum)
	return read
}

// forget drops a document that nothing points to.
func (d *Documents) forget(sum [sha256.Size]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known[sum].Value() == nil {
		delete(d.known, sum)
	}
}

// environmentSum tells environments apart. No variable holds a NUL.
func environmentSum(environment []string) (sum [sha256.Size]byte) {
	hash := sha256.New()
	for _, variable := range environment {
		hash.Write([]byte(variable))
		hash.Write([]byte{0})
	}
	hash.Sum(sum[:0])
	return sum
}

// documentOf returns the document of a unit that was read with Digest. A unit that another
// program made under a sidecar's name, or that another version wrote, may have no readable
// document; its engine is then the default one.
func documentOf(u systemd.Unit) *unitDocument {
	if d, ok := u.Digest.(*unitDocument); ok {
		return d
	}
	return readDocument(nil)
}

func readDocument(environment []string) *unitDocument {
	read := &unitDocument{}
	d, err := document.Decode(environment)
	if err == nil {
		read.engine, err = engine.Of(d.Engine)
	}
	if err != nil {
		read.engine, _ = engine.Of(interfaces.EnginePodman)
		return read
	}
	read.ok, read.context, read.image = true, d.Context, unique.Make(d.Image).Value()
	read.probed = d.Health != nil
	read.engineName, read.runtime = unique.Make(d.Engine).Value(), unique.Make(d.Runtime).Value()
	return read
}
