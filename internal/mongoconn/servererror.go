package mongoconn

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ServerError is what a command monitor's event tells of a failed round trip.
type ServerError struct {
	Code          int32
	Name, Message string
	Labels        []string
	// Raw is the server's whole reply, nil when none came.
	Raw bson.Raw
	// Err is the driver's own error.
	Err error
}

// HasErrorLabel reports whether the error has a label.
func (e *ServerError) HasErrorLabel(label string) bool { return slices.Contains(e.Labels, label) }

// CommandError is the error as the driver's own methods return it.
func (e *ServerError) CommandError() mongo.CommandError {
	return mongo.CommandError{Code: e.Code, Message: e.Message, Labels: e.Labels, Name: e.Name, Wrapped: e.Err, Raw: e.Raw}
}

// ServerErrorOf finds in an event's failure the error of a round trip; nil when there was
// none. Its type lies in one of the driver's unstable packages, which the game may have in another
// version: it is known by its fields, wherever it lies, and a test holds the driver to
// them.
func ServerErrorOf(err error) *ServerError {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.ValueOf(err)
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || !strings.HasPrefix(v.Type().PkgPath(), "go.mongodb.org/mongo-driver/v2/") {
			continue
		}
		code, labels, raw := v.FieldByName("Code"), v.FieldByName("Labels"), v.FieldByName("Raw")
		if !code.IsValid() || !code.CanInt() || !isStrings(labels) || !isBytes(raw) {
			continue
		}
		return &ServerError{
			Code: int32(code.Int()), Name: text(v, "Name"), Message: text(v, "Message"),
			Labels: labels.Convert(reflect.TypeFor[[]string]()).Interface().([]string), Raw: raw.Bytes(), Err: err,
		}
	}
	return nil
}

func isStrings(v reflect.Value) bool {
	return v.IsValid() && v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String && v.Type().ConvertibleTo(reflect.TypeFor[[]string]())
}

func isBytes(v reflect.Value) bool {
	return v.IsValid() && v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8
}

func text(v reflect.Value, field string) string {
	if f := v.FieldByName(field); f.IsValid() && f.Kind() == reflect.String {
		return f.String()
	}
	return ""
}
