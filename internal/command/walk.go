package command

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// walker goes through the elements of a document, or of an array, in place and one
// level deep. Bson.Raw's own methods copy every element's header into a slice first.
type walker struct {
	rest []byte // what follows the element, the final null included
	// The element that next has found: typ, key and value are parts of elem.
	typ        bson.Type
	elem       []byte
	key, value []byte
	// broken says that the walk ended before the document did.
	broken bool
}

// walk starts before the first element. Bytes behind the document are ignored.
func walk(doc []byte) walker {
	n := documentSize(doc)
	if n < 0 {
		return walker{broken: true}
	}
	return walker{rest: doc[4:n]}
}

// next goes to the next element. At the end, and where the document is broken, it
// returns false.
func (w *walker) next() bool {
	b := w.rest
	if w.broken || len(b) == 1 { // The final null, as documentSize has seen.
		return false
	}
	end := bytes.IndexByte(b[1:], 0)
	if b[0] == 0 || end < 0 {
		w.broken = true
		return false
	}
	t, value := bson.Type(b[0]), b[end+2:]
	n := valueSize(t, value)
	if n < 0 || n >= len(value) {
		w.broken = true
		return false
	}
	w.typ, w.elem, w.key, w.value = t, b[:end+2+n], b[1:end+1], value[:n]
	w.rest = value[n:]
	return true
}

// raw is the element's value.
func (w *walker) raw() bson.RawValue { return bson.RawValue{Type: w.typ, Value: w.value} }

// find returns the value of a key, the zero value when it is not there. The key is of
// the document itself, not a path.
func find(doc []byte, key string) bson.RawValue {
	for w := walk(doc); w.next(); {
		if string(w.key) == key {
			return w.raw()
		}
	}
	return bson.RawValue{}
}

// findDocument is find for what must be a document; nil when it is none.
func findDocument(doc []byte, key string) bson.Raw {
	if v := find(doc, key); v.Type == bson.TypeEmbeddedDocument {
		return v.Value
	}
	return nil
}

// firstKey is a document's first key; ok is false when it is empty or broken.
func firstKey(doc []byte) (key string, ok bool) {
	w := walk(doc)
	if !w.next() {
		return "", false
	}
	return string(w.key), true
}

// documentSize is the size of the document that b begins with, -1 when there is
// none.
func documentSize(b []byte) int {
	if len(b) < 5 {
		return -1
	}
	n := int(int32(binary.LittleEndian.Uint32(b)))
	if n < 5 || n > len(b) || b[n-1] != 0 {
		return -1
	}
	return n
}

// stringSize is the size of the string that b begins with, -1 when there is none.
func stringSize(b []byte) int {
	if len(b) < 5 {
		return -1
	}
	n := int(int32(binary.LittleEndian.Uint32(b)))
	if n < 1 || n > len(b)-4 || b[4+n-1] != 0 {
		return -1
	}
	return 4 + n
}

// valueSize is the size of the value of a type that b begins with, -1 when there is
// none. It may be more than b has.
func valueSize(t bson.Type, b []byte) int {
	switch t {
	case bson.TypeNull, bson.TypeUndefined, bson.TypeMinKey, bson.TypeMaxKey:
		return 0
	case bson.TypeBoolean:
		return 1
	case bson.TypeInt32:
		return 4
	case bson.TypeDouble, bson.TypeInt64, bson.TypeDateTime, bson.TypeTimestamp:
		return 8
	case bson.TypeObjectID:
		return 12
	case bson.TypeDecimal128:
		return 16
	case bson.TypeString, bson.TypeJavaScript, bson.TypeSymbol:
		return stringSize(b)
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		return documentSize(b)
	case bson.TypeBinary:
		if len(b) < 5 {
			return -1
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		if n < 0 {
			return -1
		}
		return 5 + n
	case bson.TypeRegex:
		pattern := bytes.IndexByte(b, 0)
		if pattern < 0 {
			return -1
		}
		flags := bytes.IndexByte(b[pattern+1:], 0)
		if flags < 0 {
			return -1
		}
		return pattern + flags + 2
	case bson.TypeDBPointer:
		if n := stringSize(b); n >= 0 {
			return n + 12
		}
	case bson.TypeCodeWithScope:
		if len(b) < 4 {
			return -1
		}
		code := stringSize(b[4:])
		if code < 0 {
			return -1
		}
		scope := documentSize(b[4+code:])
		if n := 4 + code + scope; scope >= 0 && n == int(int32(binary.LittleEndian.Uint32(b))) {
			return n
		}
	}
	return -1
}

// maxDepth is how deep documents may be nested in what a caller hands over. The
// server's limit is 200; the rest is for what a command puts around it.
const maxDepth = 196

var errTooDeep = fmt.Errorf("it is nested more than %d levels deep, which the server does not take", maxDepth)

// valid looks through a whole document, however deep. A server that finds such a
// thing broken ends the connection instead of answering, and that looks like the
// host's failure: the next host would be asked, and lost, in its turn.
//
// It does not recurse: a document of 16 MiB can be nested two million levels deep, and
// a goroutine's stack that overflows takes the process along.
func valid(doc []byte) error {
	n := documentSize(doc)
	if n != len(doc) {
		return errors.New("its length is not that of a BSON document")
	}
	var ends [maxDepth]int // of the open documents: where their final nulls are
	ends[0] = n - 1
	for at, depth := 4, 0; ; {
		end := ends[depth]
		if at == end {
			if depth == 0 {
				return nil
			}
			at, depth = at+1, depth-1
			continue
		}
		key := bytes.IndexByte(doc[at+1:end], 0)
		if doc[at] == 0 || key < 0 {
			return fmt.Errorf("it is no BSON document: its byte %d is no element's", at)
		}
		t := bson.Type(doc[at])
		at += key + 2
		size := valueSize(t, doc[at:end])
		if size < 0 || size > end-at || t == bson.TypeBoolean && doc[at] > 1 {
			return fmt.Errorf("it is no BSON document: its byte %d begins no value of type %v", at, t)
		}
		scope := 0
		switch t {
		case bson.TypeCodeWithScope:
			scope = 4 + stringSize(doc[at+4:end])
			fallthrough
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			if depth++; depth == maxDepth {
				return errTooDeep
			}
			ends[depth] = at + size - 1
			at += scope + 4
		default:
			at += size
		}
	}
}
