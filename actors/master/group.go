package master

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

// What waits in a lane goes together, in order, as far as one command can carry it
// and its reply tells of every write in it what the write's own would have told. No
// batch needs two commands: the driver would send them one after the other, and of what it
// reports then it is hard to say which of them it concerns.

// kinds is a set of commands that can carry several writes.
type kinds uint8

const (
	// inserts is an insert command. Its reply says which document it stopped at, and
	// that is all there is to say of an insert.
	inserts kinds = 1 << iota
	// updates is an update command of writes of ErrorsOnly: its reply counts all of
	// them together. So is deletes.
	updates
	deletes
	// bulk is the bulkWrite command of MongoDB 8.0, for any collections of any
	// databases, with a result for each write.
	bulk
)

// bulkWireVersion is that of MongoDB 8.0.
const bulkWireVersion = 25

// The most that goes into one command, whatever Config allows: a message has
// 48,000,000 bytes at most, a command 100,000 writes.
const (
	maxCommandBytes  = 47_000_000
	maxCommandWrites = 100_000
)

// The reply to a bulkWrite has about 100 bytes for each write, and the _id of
// each upserted document, which is part of the write. It has to fit into the 16 MiB
// of one reply: the rest would have to be asked for, and could be lost.
const (
	maxBulkBytes  = 12 << 20
	maxBulkWrites = 25_000
)

// kinds returns the commands that can carry the write together with others.
func (it *item) kinds() kinds {
	if it.alone || !it.Cmd.Plain {
		return 0
	}
	var k kinds
	switch it.Cmd.Operation.(type) {
	case messages.InsertOne:
		k = inserts | bulk
	case messages.UpdateOne, messages.ReplaceOne:
		k = updates | bulk
	case messages.DeleteOne:
		k = deletes | bulk
	}
	if !it.ErrorsOnly {
		k &^= updates | deletes
	}
	if !ordinary(it.Cmd) {
		k &^= bulk
	}
	return k
}

// ordinary reports whether a namespace is surely one that the server takes writes
// for. A bulkWrite may find only in the middle that one of its namespaces is not, and
// then it fails as a whole, with what came before executed.
func ordinary(cmd *command.Write) bool {
	switch cmd.Database {
	case "admin", "config", "local":
		return false
	}
	return !strings.HasPrefix(cmd.Collection, "system.") && !strings.Contains(cmd.Database, "$") && !strings.Contains(cmd.Collection, "$") &&
		len(cmd.Database)+len(cmd.Collection) <= longestName
}

// longestName leaves room: the server's own limit is 255 bytes, and less for a
// database.
const longestName = 200

// group is what has been found to go together.
type group struct {
	first *item
	n     int
	bytes int
	// can carry all of it; nothing when it is one write that goes alone.
	can kinds
}

// admit adds the next write in the queue, unless no command can carry it with the
// others.
func (g *group) admit(it *item, most limits) bool {
	switch {
	case g.n == 0:
		g.first, g.can = it, it.kinds()&most.known
	case g.can == 0:
		return false
	default:
		can := g.can & it.kinds()
		if it.Cmd.Database != g.first.Cmd.Database || it.Cmd.Collection != g.first.Cmd.Collection {
			can &= bulk
		}
		bytes := g.bytes + it.Cmd.Bytes
		if g.n >= min(most.writes, maxCommandWrites) || bytes > min(most.bytes, maxCommandBytes) {
			can = 0
		}
		if g.n >= maxBulkWrites || bytes > maxBulkBytes {
			can &^= bulk
		}
		if can == 0 || !sameConcern(g.first.WriteConcern, it.WriteConcern) {
			return false
		}
		g.can = can
	}
	g.n++
	g.bytes += it.Cmd.Bytes
	return true
}

// kind is the command that the group goes as; 0 for a write that goes alone, by the
// driver's own method for it.
func (g *group) kind() kinds {
	if g.n == 1 {
		return 0
	}
	for _, k := range []kinds{inserts, updates, deletes} {
		if g.can&k != 0 {
			return k // What every server knows, where it says as much.
		}
	}
	return g.can
}

// limits bound a group.
type limits struct {
	writes, bytes int
	// known are the commands that the primary knows.
	known kinds
}

func sameConcern(a, b *writeconcern.WriteConcern) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.W != b.W || (a.Journal == nil) != (b.Journal == nil) {
		return false
	}
	return a.Journal == nil || *a.Journal == *b.Journal
}
