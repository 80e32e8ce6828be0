package command

import (
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/messages"
)

// reading are the commands that only read. Not among them: validate, which locks
// the collection; profile and setParameter, which set; mapReduce, which may write;
// and getMore, whose cursor is on one host.
var reading = map[string]bool{
	"find": true, "aggregate": true, "count": true, "distinct": true,
	"listcollections": true, "listindexes": true, "listdatabases": true,
	"collstats": true, "dbstats": true, "dbhash": true, "datasize": true, "explain": true,
	"ping": true, "hello": true, "ismaster": true, "buildinfo": true, "serverstatus": true, "hostinfo": true,
	"connectionstatus": true, "replsetgetstatus": true, "replsetgetconfig": true, "getparameter": true,
	"getdefaultrwconcern": true, "currentop": true, "top": true, "whatsmyuri": true, "getcmdlineopts": true, "listcommands": true,
}

// owned are the commands that evenkeel, or the driver below it, answers for
// itself.
var owned = map[string]string{
	"getmore":           "send messages.GetMore",
	"killcursors":       "send messages.CloseCursor",
	"startsession":      "the lane has a session of its own",
	"endsessions":       "the lane has a session of its own",
	"refreshsessions":   "the lane has a session of its own",
	"killsessions":      "it would end the lane's session",
	"killallsessions":   "it would end the lane's session",
	"committransaction": "transactions are not supported; use App.Client",
	"aborttransaction":  "transactions are not supported; use App.Client",
	"saslstart":         "the driver logs in",
	"saslcontinue":      "the driver logs in",
	"authenticate":      "the driver logs in",
	"logout":            "the driver logs in",
}

// internalFields are those that the driver adds to a command.
var internalFields = map[string]string{
	"$db":              "name the database in Database",
	"lsid":             "the lane, or the read, has a session of its own",
	"txnNumber":        "a Command is never sent twice",
	"autocommit":       "transactions are not supported; use App.Client",
	"startTransaction": "transactions are not supported; use App.Client",
	"$clusterTime":     "use Read.After",
	"$readPreference":  "use Read.From",
}

// command encodes a Command and checks what it must not hold.
func (e *Encoder) command(op messages.Command) (doc bson.Raw, name string, err error) {
	if doc, err = e.ordered("Document", op.Document); err != nil {
		return nil, "", err
	}
	elements, err := doc.Elements()
	if err != nil {
		return nil, "", invalid("Document", err)
	}
	if len(elements) == 0 {
		return nil, "", invalid("Document", errors.New("it is empty; its first key must be the command's name"))
	}
	name = elements[0].Key()
	if instead, ok := owned[strings.ToLower(name)]; ok {
		return nil, "", invalid("Document", fmt.Errorf("%s cannot be sent: %s", name, instead))
	}
	for _, el := range elements[1:] {
		if instead, ok := internalFields[el.Key()]; ok {
			return nil, "", invalid("Document", fmt.Errorf("it has the field %s: %s", el.Key(), instead))
		}
	}
	return doc, name, nil
}

func (e *Encoder) readCommand(r *Read, op messages.Command) error {
	if err := namespace(r.Database, r.Collection, false); err != nil {
		return err
	}
	doc, name, err := e.command(op)
	if err != nil {
		return err
	}
	if !reading[strings.ToLower(name)] {
		return fmt.Errorf("%w: %s is none of the commands that only read; send it to the master", messages.ErrNotARead, name)
	}
	if stage := commandWrites(name, doc); stage != "" {
		return fmt.Errorf("%w: the pipeline has %s; send it to the master", messages.ErrNotARead, stage)
	}
	r.Class, r.Kind, r.Name, r.Body = Heavy, KindCommand, name, doc
	r.TakesReadConcern = false
	if v, err := doc.LookupErr("maxTimeMS"); err == nil {
		r.MaxTimeMS, _ = v.AsInt64OK()
	}
	return nil
}

// commandWrites names a stage that writes of an aggregate, or of one that is
// explained.
func commandWrites(name string, doc bson.Raw) string {
	if strings.EqualFold(name, "explain") {
		if inner, ok := doc.Index(0).Value().DocumentOK(); ok {
			if first, err := inner.IndexErr(0); err == nil {
				return commandWrites(first.Key(), inner)
			}
		}
		return ""
	}
	if !strings.EqualFold(name, "aggregate") {
		return ""
	}
	pipeline, ok := doc.Lookup("pipeline").ArrayOK()
	if !ok {
		return ""
	}
	values, err := pipeline.Values()
	if err != nil {
		return ""
	}
	var stages []bson.Raw
	for _, v := range values {
		if d, ok := v.DocumentOK(); ok {
			stages = append(stages, d)
		}
	}
	return writingStage(stages)
}
