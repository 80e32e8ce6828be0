package server

import (
	"encoding/hex"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

// request is one command to execute. A connection has one and uses it again:
// nothing in it outlives the command.
type request struct {
	msg  *message
	cmd  *command
	name string // as the client wrote it, for the messages that quote it
	db   string
	// first is the value of the command's own field, such as the collection of a
	// find.
	first bson.RawValue
	// args are the command's other fields, without the generic ones.
	args []field

	received time.Time
	generic

	// retain keeps the buffer that the request lies in from being used again: set
	// by what stores a part of it.
	retain bool

	// more says that, in an exhaust stream, another reply follows this one.
	more bool

	// What the command did, for the reply's common fields.
	wrote      bool        // it may have written, so its write concern is waited for
	wroteUpTo  repl.OpTime // the op to wait for
	readLevel  repl.ReadLevel
	writeError error // why its write concern was not met

	unacknowledged bool // its write concern asks for no answer
}

// generic is what any command may carry.
type generic struct {
	session     string // "" without one
	sessionUUID [16]byte
	txnNumber   int64
	hasTxn      bool
	inTxn       bool // autocommit: false
	startTxn    bool
	maxTime     time.Duration // 0 without one
	hasMaxTime  bool
	readConcern bson.Raw
	writeCon    bson.Raw
	secondaryOk bool
	clusterTime bson.Timestamp
	apiVersion  string
	apiStrict   bool
	hasAPI      bool // apiStrict or apiDeprecationErrors was given
}

// parse reads the message as a command: its name, its database and the generic
// fields. It needs no validity of the command itself.
func (r *request) parse(m *message, version wireVersion) error {
	*r = request{msg: m, args: r.args[:0], received: time.Now()}
	s := scan(m.body)
	first, ok := s.next()
	if ok && m.opcode == opQuery && (string(first.key) == "$query" || string(first.key) == "query") && first.value.Type == bson.TypeEmbeddedDocument {
		// The old way to send a read preference with a query: the command is inside.
		s = scan(first.value.Value)
		first, ok = s.next()
	}
	if !ok {
		return refuse(codeFailedToParse, "Empty command object")
	}
	r.first = first.value
	r.name = string(first.key)
	if cmd := commandsByName[r.name]; cmd != nil && version >= cmd.since {
		r.cmd, r.name = cmd, cmd.name
	}
	if m.opcode == opQuery {
		r.secondaryOk = m.flags&querySecondaryOk != 0
		r.db = m.query[:len(m.query)-len(".$cmd")]
	}
	var auto, start bson.RawValue
	for {
		f, ok := s.next()
		if !ok {
			break
		}
		known, err := r.generic.take(r.name, f, version)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		switch string(f.key) {
		case "$db":
			if f.value.Type != bson.TypeString {
				return errType(r.name, "$db", f.value.Type, "string")
			}
			if m.opcode == opMsg {
				r.db = string(text(f.value))
			}
		case "autocommit":
			auto = f.value
		case "startTransaction":
			start = f.value
		default:
			r.args = append(r.args, f)
		}
	}
	if r.db == "" {
		if m.opcode == opMsg {
			return refuse(40571, "OP_MSG requests require a $db argument")
		}
		return refuse(codeInvalidNamespace, "Invalid database name: ''")
	}
	// There are users in $external, and no collections.
	if err := checkDatabaseName(r.db); err != nil && r.db != externalDB {
		return err
	}
	return r.generic.checkTransaction(auto, start)
}

// take reads a generic field; known is false for what is none.
func (g *generic) take(cmd string, f field, version wireVersion) (known bool, err error) {
	switch string(f.key) {
	case "comment":
		return true, nil
	case "apiVersion", "apiStrict", "apiDeprecationErrors":
		if version < wire50 {
			return false, nil // an unknown field, like any other
		}
	case "lsid", "txnNumber", "$clusterTime", "$readPreference", "maxTimeMS", "readConcern", "writeConcern":
	default:
		return false, nil
	}
	if t := f.value.Type; t == bson.TypeNull || t == bson.TypeUndefined {
		return true, nil // the same as none
	}
	return true, g.set(cmd, string(f.key), f.value)
}

func (g *generic) set(cmd, key string, v bson.RawValue) (err error) {
	switch key {
	case "lsid":
		if v.Type != bson.TypeEmbeddedDocument {
			return errType(cmd, "lsid", v.Type, "object")
		}
		g.sessionUUID, err = sessionID("OperationSessionInfo.lsid", v.Value)
		if err != nil {
			return err
		}
		g.session = sessionName(g.sessionUUID)
	case "txnNumber":
		if v.Type != bson.TypeInt64 {
			return errType("OperationSessionInfo", "txnNumber", v.Type, "long")
		}
		g.txnNumber, _ = integral(v)
		g.hasTxn = true
	case "$clusterTime":
		if v.Type != bson.TypeEmbeddedDocument {
			return errType(cmd, "$clusterTime", v.Type, "object")
		}
		ts, ok := lookup(v.Value, "clusterTime")
		if !ok {
			return refuse(codeMissingField, "BSON field '$clusterTime.clusterTime' is missing but a required field")
		}
		if ts.Type != bson.TypeTimestamp {
			return errType("$clusterTime", "clusterTime", ts.Type, "timestamp")
		}
		g.clusterTime.T, g.clusterTime.I = ts.Timestamp()
	case "$readPreference":
		if v.Type != bson.TypeEmbeddedDocument {
			return errType(cmd, "$readPreference", v.Type, "object")
		}
		return g.readPreference(v.Value)
	case "maxTimeMS":
		return g.takeMaxTime(v)
	case "readConcern":
		if v.Type != bson.TypeEmbeddedDocument {
			return errType(cmd, "readConcern", v.Type, "object")
		}
		g.readConcern = v.Value
	case "writeConcern":
		if v.Type != bson.TypeEmbeddedDocument {
			return errType(cmd, "writeConcern", v.Type, "object")
		}
		g.writeCon = v.Value
	case "apiVersion":
		if v.Type != bson.TypeString {
			return errType("APIParametersFromClient", "apiVersion", v.Type, "string")
		}
		g.apiVersion = string(text(v))
	case "apiStrict", "apiDeprecationErrors":
		if v.Type != bson.TypeBoolean {
			return errType("APIParametersFromClient", key, v.Type, "bool")
		}
		g.hasAPI = true
		if key == "apiStrict" {
			g.apiStrict = v.Boolean()
		}
	}
	return nil
}

func (g *generic) takeMaxTime(v bson.RawValue) error {
	f, ok := number(v)
	if !ok {
		return refuse(codeBadValue, "maxTimeMS must be a number")
	}
	if f < 0 || f > math.MaxInt32 || math.IsNaN(f) {
		n, _ := integral(v)
		return refuse(codeBadValue, "%d value for maxTimeMS is out of range [0, %d]", n, math.MaxInt32)
	}
	if f != math.Trunc(f) {
		return refuse(codeBadValue, "maxTimeMS has non-integral value")
	}
	g.maxTime, g.hasMaxTime = time.Duration(f)*time.Millisecond, true
	return nil
}

func (g *generic) readPreference(doc []byte) error {
	mode, ok := lookup(doc, "mode")
	if !ok {
		return refuse(codeMissingField, "BSON field '$readPreference.mode' is missing but a required field")
	}
	if mode.Type != bson.TypeString {
		return errType("$readPreference", "mode", mode.Type, "string")
	}
	switch string(text(mode)) {
	case "primary":
		g.secondaryOk = false
	case "primaryPreferred", "secondary", "secondaryPreferred", "nearest":
		g.secondaryOk = true
	default:
		return refuse(codeBadValue, "Enumeration value '%s' for field '$readPreference.mode' is not a valid value.", text(mode))
	}
	return nil
}

// checkTransaction checks the fields that belong together, as the server does.
func (g *generic) checkTransaction(auto, start bson.RawValue) error {
	if g.hasTxn {
		if g.session == "" {
			return refuse(codeInvalidOptions, "Transaction number requires a session ID to be specified")
		}
		if g.txnNumber < 0 {
			return refuse(codeInvalidOptions, "Transaction number cannot be negative")
		}
	}
	if auto.Type != 0 {
		if auto.Type != bson.TypeBoolean {
			return errType("OperationSessionInfo", "autocommit", auto.Type, "bool")
		}
		if !g.hasTxn {
			return refuse(codeInvalidOptions, "'autocommit' field requires a transaction number to also be specified")
		}
		if auto.Boolean() {
			return refuse(codeInvalidOptions, "Specifying autocommit=true is not allowed.")
		}
		g.inTxn = true
	}
	if start.Type != 0 {
		if start.Type != bson.TypeBoolean {
			return errType("OperationSessionInfo", "startTransaction", start.Type, "bool")
		}
		if !g.hasTxn {
			return refuse(codeInvalidOptions, "'startTransaction' field requires a transaction number to also be specified")
		}
		if !g.inTxn {
			return refuse(codeInvalidOptions, "'startTransaction' field requires 'autocommit' field to also be specified")
		}
		if !start.Boolean() {
			return refuse(codeInvalidOptions, "Specifying startTransaction=false is not allowed.")
		}
		g.startTxn = true
	}
	return nil
}

// sessionID reads a logical session id's UUID. A user digest beside it is not
// needed to tell sessions apart here.
func sessionID(path string, doc []byte) (id [16]byte, err error) {
	found := false
	for s := scan(doc); ; {
		f, ok := s.next()
		if !ok {
			break
		}
		switch string(f.key) {
		case "id":
			if f.value.Type != bson.TypeBinary {
				return id, errType(path, "id", f.value.Type, "binData")
			}
			subtype, data := f.value.Binary()
			if subtype != bson.TypeBinaryUUID || len(data) != len(id) {
				return id, refuse(codeInvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype")
			}
			copy(id[:], data)
			found = true
		case "uid":
		default:
			return id, errUnknownField(path, string(f.key))
		}
	}
	if !found {
		return id, refuse(codeMissingField, "BSON field '%s.id' is missing but a required field", path)
	}
	return id, nil
}

// sessionName is a session's name to the replicated state: its UUID in the usual
// notation.
func sessionName(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[:], id[:4])
	b[8] = '-'
	hex.Encode(b[9:], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:], id[10:])
	return string(b[:])
}

// sequence returns the document sequence of that name, if there is one.
func (r *request) sequence(name string) (docs []bson.Raw, ok bool) {
	for i := range r.msg.seqs {
		if r.msg.seqs[i].name == name {
			return r.msg.seqs[i].docs, true
		}
	}
	return nil, false
}

// namespace is what a command is about, for those who ask by it: the database,
// and the collection where the command names one.
func (r *request) namespace() string {
	if r.first.Type == bson.TypeString {
		return r.db + "." + string(text(r.first))
	}
	return r.db
}
