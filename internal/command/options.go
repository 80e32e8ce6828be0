package command

import (
	"fmt"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// resolve applies all setters of all listers, the later over the earlier.
func resolve[T any](listers []options.Lister[T]) (T, error) {
	if len(listers) == 0 {
		var none T
		return none, nil
	}
	o := new(T)
	for _, l := range listers {
		if l == nil || reflect.ValueOf(l).Kind() == reflect.Pointer && reflect.ValueOf(l).IsNil() {
			continue
		}
		for _, set := range l.List() {
			if set == nil {
				continue
			}
			if err := set(o); err != nil {
				return *o, invalid("Options", err)
			}
		}
	}
	for _, name := range []string{"Internal", "Custom"} {
		if f := reflect.ValueOf(o).Elem().FieldByName(name); f.IsValid() && !f.IsZero() {
			return *o, invalid("Options", fmt.Errorf("its field %s is the driver's own, which only the driver can read; use App.Client", name))
		}
	}
	return *o, nil
}

// detach replaces what options point to by copies: a collation is the caller's
// own, and an option made by another Lister than the driver's may be, too.
func detach[T any](o *T) {
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			copied := reflect.New(f.Type().Elem())
			copied.Elem().Set(f.Elem())
			f.Set(copied)
		}
	}
}

// isZero reports whether nothing is set, in fields that this package does not know
// either.
func isZero[T any](o *T) bool { return reflect.ValueOf(o).Elem().IsZero() }

// resolved is a lister that sets everything at once. It is used by its pointer: the
// driver asks of every lister whether it is nil, which panics on a struct.
type resolved[T any] struct{ to T }

// List implements options.Lister.
func (r *resolved[T]) List() []func(*T) error {
	return []func(*T) error{func(o *T) error { *o = r.to; return nil }}
}

func frozen[T any](o T) []options.Lister[T] { return []options.Lister[T]{&resolved[T]{o}} }
