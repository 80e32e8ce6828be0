package master

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// The defaults of Config.
const (
	DefaultWriteQueue      = 10_000
	DefaultWriteQueueBytes = 64 << 20
	DefaultWriteTimeout    = 10 * time.Second
	DefaultWriteLanes      = 1
	DefaultMaxBatch        = 1_000
	DefaultMaxBatchBytes   = 16 << 20
)

// Encoder encodes a Write's BSON, in the goroutine of whoever sends it. Its errors
// are given to the asker as they are. *command.Encoder is one.
type Encoder interface {
	Write(*messages.Write) (*command.Write, error)
	// InsertedID is an _id as the driver's results give it.
	InsertedID(bson.RawValue) any
}

// Config is what a Master needs. All but Encoder has a default.
type Config struct {
	// Encoder encodes the writes; required.
	Encoder Encoder
	// WriteQueue is how many writes may be waiting or on the wire, in all lanes
	// together. One more is refused with an *OverloadedError. Of several lanes each
	// has a part of its own, all of them together one half, and the other half is for
	// whichever needs it, so that a stuck one leaves the others room. Defaults to
	// DefaultWriteQueue.
	WriteQueue int
	// WriteQueueBytes is how many bytes they may hold in memory together; it is divided
	// in the same way. Defaults to DefaultWriteQueueBytes.
	WriteQueueBytes int
	// WriteTimeout is the deadline of a Write that names none. Defaults to
	// DefaultWriteTimeout.
	WriteTimeout time.Duration
	// WriteLanes is how many ordered queues there are; Write.Key chooses one. Writes in
	// different lanes may overtake each other. Defaults to DefaultWriteLanes.
	WriteLanes int
	// MaxBatch is how many writes go together at most. Defaults to DefaultMaxBatch; 1
	// sends every write alone.
	MaxBatch int
	// MaxBatchBytes is how many bytes go together at most; one command's limit holds
	// besides. Defaults to DefaultMaxBatchBytes.
	MaxBatchBytes int
	// WriteConcern is that of the client that is logged in with, for writes that name none.
	// It is not sent again; it tells how much a write found on a majority is worth. Nil is
	// a majority, which mongoconn.OpenSet gives a client that names none.
	WriteConcern *writeconcern.WriteConcern
	// Hosts describes every configured host, for the error of a write that has found no
	// primary. Optional.
	Hosts func() []string
	// Recent returns the last transitions, for errors. Optional.
	Recent func() []messages.Transition
	// Emit publishes an event. It must not block, and must not call the master.
	// Optional.
	Emit func(messages.Event)
	// Logger gets what nobody can be told: failed writes that had no sender, and
	// panics. Optional.
	Logger zerolog.Logger
}

// withDefaults returns the config with its defaults filled in, or an error that
// names the field that can never work.
func (c Config) withDefaults() (Config, error) {
	if c.Encoder == nil {
		return c, errors.New("master: Config.Encoder is nil; it encodes the writes")
	}
	for _, f := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"WriteQueue", &c.WriteQueue, DefaultWriteQueue},
		{"WriteQueueBytes", &c.WriteQueueBytes, DefaultWriteQueueBytes},
		{"WriteLanes", &c.WriteLanes, DefaultWriteLanes},
		{"MaxBatch", &c.MaxBatch, DefaultMaxBatch},
		{"MaxBatchBytes", &c.MaxBatchBytes, DefaultMaxBatchBytes},
	} {
		if *f.value < 0 {
			return c, fmt.Errorf("master: Config.%s is %d; it must be positive, or 0 for the default of %d", f.name, *f.value, f.zero)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	if c.WriteTimeout < 0 {
		return c, fmt.Errorf("master: Config.WriteTimeout is %v; it must be positive, or 0 for the default of %v", c.WriteTimeout, DefaultWriteTimeout)
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = DefaultWriteTimeout
	}
	if c.Hosts == nil {
		c.Hosts = func() []string { return nil }
	}
	if c.Emit == nil {
		c.Emit = func(messages.Event) {}
	}
	return c, nil
}
