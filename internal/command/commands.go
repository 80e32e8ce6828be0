package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// reading are the commands that only read, in every spelling the server knows: to it,
// FIND is no command. Not among them: validate, which locks the collection; profile
// and setParameter, which set; mapReduce, which may write; and getMore, whose cursor
// is on one host.
var reading = map[string]bool{
	"find": true, "aggregate": true, "count": true, "distinct": true, "explain": true,
	"listCollections": true, "listIndexes": true, "listDatabases": true,
	"collStats": true, "collstats": true, "dbStats": true, "dbstats": true,
	"dbHash": true, "dbhash": true, "dataSize": true, "datasize": true,
	"ping": true, "hello": true, "isMaster": true, "ismaster": true, "buildInfo": true, "buildinfo": true,
	"serverStatus": true, "hostInfo": true, "connectionStatus": true, "connPoolStats": true,
	"replSetGetStatus": true, "replSetGetConfig": true, "getParameter": true, "getDefaultRWConcern": true,
	"currentOp": true, "top": true, "whatsmyuri": true, "getCmdLineOpts": true, "getLog": true, "listCommands": true,
	"usersInfo": true, "rolesInfo": true,
}

// waiting are the commands that wait for Read.After, unless they say themselves what
// to wait for. The others have no place to say it.
var waiting = map[string]bool{"find": true, "aggregate": true, "count": true, "distinct": true}

// owned are the commands that evenkeel, or the driver below it, answers for
// itself.
var owned = map[string]string{
	"getMore":                  "send messages.GetMore",
	"killCursors":              "send messages.CloseCursor",
	"startSession":             "there is a session already",
	"endSessions":              "it would end a session that others use",
	"refreshSessions":          "sessions are kept alive by what they are used for",
	"killSessions":             "it would end a session that others use",
	"killAllSessions":          "it would end sessions that others use",
	"killAllSessionsByPattern": "it would end sessions that others use",
	"commitTransaction":        "transactions are not supported; use App.Client",
	"abortTransaction":         "transactions are not supported; use App.Client",
	"saslStart":                "the driver logs in",
	"saslContinue":             "the driver logs in",
	"authenticate":             "the driver logs in",
	"logout":                   "the driver logs in",
}

// internalFields are those that the driver adds to a command.
var internalFields = map[string]string{
	"$db":              "name the database in Database",
	"lsid":             "there is a session already",
	"txnNumber":        "a Command is never sent twice",
	"autocommit":       "transactions are not supported; use App.Client",
	"startTransaction": "transactions are not supported; use App.Client",
	"$clusterTime":     "the driver adds it; a Read waits for what Read.After stands for",
	"$readPreference":  "a Read chooses in Read.From, and a Write goes to the primary",
}

// command encodes a Command and checks what it must not hold.
func (e *Encoder) command(op messages.Command) (doc bson.Raw, name string, err error) {
	if doc, err = e.ordered("Document", op.Document); err != nil {
		return nil, "", err
	}
	if err := fits(len(doc)); err != nil {
		return nil, "", err
	}
	w := walk(doc)
	if !w.next() {
		return nil, "", invalid("Document", errors.New("it is empty; its first key must be the command's name"))
	}
	name = string(w.key)
	if instead, ok := owned[name]; ok {
		return nil, "", invalid("Document", fmt.Errorf("%s cannot be sent: %s", name, instead))
	}
	for w.next() {
		if instead, ok := internalFields[string(w.key)]; ok {
			return nil, "", invalid("Document", fmt.Errorf("it has the field %s: %s", w.key, instead))
		}
	}
	return doc, name, nil
}

// acknowledged refuses a write concern of a Command's own that leaves no outcome to
// tell. Of what is no number the server takes strings, which are names.
func acknowledged(doc bson.Raw) error {
	w := find(findDocument(doc, "writeConcern"), "w")
	n, ok := w.AsFloat64OK()
	if w.Type == bson.TypeDecimal128 {
		var err error
		n, err = strconv.ParseFloat(w.Decimal128().String(), 64)
		ok = err == nil
	}
	// To the server, 0.5 and what is not a number at all are 0.
	if ok && !(n >= 1) {
		return invalid("Document", fmt.Errorf("writeConcern: {w: %v} would leave no outcome to tell; use w: 1 or more", n))
	}
	return nil
}

func (e *Encoder) readCommand(r *Read, op messages.Command) error {
	if err := namespace(r.Database, r.Collection, false); err != nil {
		return err
	}
	doc, name, err := e.command(op)
	if err != nil {
		return err
	}
	if !reading[name] {
		if meant := spelled(name); meant != "" {
			return invalid("Document", fmt.Errorf("the server has no command %q; write %q", name, meant))
		}
		return fmt.Errorf("%w: %s is none of the commands that only read; use RunWriteCommand, or send the master a Command", messages.ErrNotARead, name)
	}
	if stage := commandWrites(name, doc); stage != "" {
		return fmt.Errorf("%w: the pipeline has %s; use RunWriteCommand, or send the master a Command", messages.ErrNotARead, stage)
	}
	r.Class, r.Kind, r.Name, r.Body = Heavy, KindCommand, name, doc
	r.TakesReadConcern = waiting[name] && find(doc, "readConcern").IsZero()
	if limit := find(doc, "maxTimeMS"); !limit.IsZero() {
		r.limited = true
		r.MaxTimeMS, _ = limit.AsInt64OK()
	}
	return nil
}

// spelled is the reading command that a name was meant to be, "" for none.
func spelled(name string) string {
	for _, known := range slices.Sorted(maps.Keys(reading)) {
		if strings.EqualFold(known, name) {
			return known
		}
	}
	return ""
}

// commandWrites names a stage that writes of an aggregate, or of one that is
// explained: that would not be executed, but it is for the primary to plan.
func commandWrites(name string, doc bson.Raw) string {
	switch name {
	case "explain":
		w := walk(doc)
		if w.next() && w.typ == bson.TypeEmbeddedDocument {
			if inner, ok := firstKey(w.value); ok {
				return commandWrites(inner, w.value)
			}
		}
	case "aggregate":
		var stages []bson.Raw
		for w := walk(doc); w.next(); {
			if string(w.key) != "pipeline" || w.typ != bson.TypeArray {
				continue
			}
			for p := walk(w.value); p.next(); {
				stages = append(stages, p.value)
			}
		}
		return writingStage(stages)
	}
	return ""
}
