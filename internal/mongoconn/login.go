package mongoconn

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// login is what may be said of how a client logs in.
type login struct {
	mechanism, user, source string
	hide                    func(string) string
}

// loginOf reads the login from the embedder's options.
func loginOf(o *options.ClientOptions) login {
	l := login{hide: hiderOf(o)}
	if o.Auth == nil {
		return l
	}
	l.mechanism, l.source = strings.ToUpper(o.Auth.AuthMechanism), o.Auth.AuthSource
	switch l.mechanism {
	case "MONGODB-AWS", "MONGODB-OIDC":
		// A user named there is the half of a key, or somebody's account elsewhere.
	default:
		// One who has a password much like the name gets no name.
		l.user = l.hide(o.Auth.Username)
	}
	if l.source == "" {
		switch l.mechanism {
		case "MONGODB-AWS", "MONGODB-OIDC", "MONGODB-X509", "GSSAPI", "PLAIN":
			l.source = "$external"
		default:
			l.source = "admin"
		}
	}
	return l
}

// IsAuth reports whether err is a refused login: a *messages.LoginError, or the driver's
// own error for one.
func IsAuth(err error) bool {
	if errors.Is(err, messages.ErrLoginRefused) {
		return true
	}
	if err == nil || IsNetwork(err) || mongo.IsTimeout(err) || errors.Is(err, context.Canceled) {
		return false // The login was cut off, not refused.
	}
	// A query is never answered with one of these codes: 18 AuthenticationFailed, and
	// 8000 AtlasError, which Atlas uses for "bad auth".
	var cmd mongo.CommandError
	if errors.As(err, &cmd) && (cmd.Code == 18 || cmd.Code == 8000 && strings.Contains(cmd.Message, "auth")) {
		return true
	}
	if code, _ := serverSaid(err); slices.Contains(retryableReads, code) {
		return false // The member goes down, or cannot say.
	}
	// The driver's own type for the rest lies in one of its unstable packages. Its
	// shape tells it.
	var shaped interface {
		error
		Inner() error
		Message() string
	}
	if errors.As(err, &shaped) {
		return shaped.Message() == "auth error" || strings.HasPrefix(shaped.Message(), "unable to authenticate")
	}
	// It is text where the driver has flattened it, as for those who waited for a pool that
	// another one's login has cleared. Whether that was refused or cut off is known where the server
	// has said it; the other one has the whole error.
	_, why, ok := strings.Cut(err.Error(), "unable to authenticate using mechanism")
	return ok && slices.ContainsFunc(refusals, func(name string) bool { return strings.Contains(why, name) })
}

// refusals are how the driver writes the names of the server's codes for refused logins.
var refusals = []string{"(AuthenticationFailed)", "(AtlasError)", "(UserNotFound)", "(Unauthorized)", "(MechanismUnavailable)"}

// error turns the driver's error for a refused login into a *messages.LoginError, which
// does not unwrap to the driver's, and returns nil for any other. Secrets are taken out of
// its text.
func (l *login) error(host string, err error) *messages.LoginError {
	if !IsAuth(err) {
		return nil
	}
	var refused *messages.LoginError
	if errors.As(err, &refused) {
		return refused
	}
	refused = &messages.LoginError{Host: host, Mechanism: l.mechanism, User: l.user, Source: l.source}
	reason := err.Error()
	if code, message := serverSaid(err); code != 0 {
		refused.Code, reason = code, message
	}
	refused.Reason = short(l.hide(short(reason)))
	return refused
}

// serverSaid finds what the server has said in an error of the driver's: a
// mongo.CommandError, or in what its pools tell the type that this is made of, which lies in
// one of the driver's unstable packages and is known here by its fields.
func serverSaid(err error) (code int32, message string) {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		c, m := v.FieldByName("Code"), v.FieldByName("Message")
		if c.IsValid() && c.Kind() == reflect.Int32 && c.Int() != 0 && m.IsValid() && m.Kind() == reflect.String {
			return int32(c.Int()), m.String()
		}
	}
	return 0, ""
}
