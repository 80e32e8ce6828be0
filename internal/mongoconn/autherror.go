package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// AuthError says that a host refused the login. It holds no credentials, and
// does not unwrap to the driver's error.
type AuthError struct {
	Host string
	// Code is the server's, such as 18 (AuthenticationFailed); 0 when the login failed on
	// this side, such as over a mechanism that the server does not offer.
	Code int32
	// Reason is the server's text, or the driver's.
	Reason string
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("evenkeel: login refused by %s: (%d) %s; check user, password and authSource", e.Host, e.Code, e.Reason)
}

// IsAuth reports whether err is a refused login: an *AuthError, or the driver's
// own error for one.
func IsAuth(err error) bool {
	var auth *AuthError
	if errors.As(err, &auth) {
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
	// The driver's own type for the rest lies in one of its unstable packages. Its
	// shape tells it; its text does so where the driver has flattened it, as for those who
	// waited for a pool that another one's login has cleared.
	var shaped interface {
		error
		Inner() error
		Message() string
	}
	if errors.As(err, &shaped) {
		return shaped.Message() == "auth error" || strings.HasPrefix(shaped.Message(), "unable to authenticate")
	}
	return strings.Contains(err.Error(), "unable to authenticate using mechanism")
}

// authError turns the driver's error for a refused login into an *AuthError, and
// returns nil for any other. Secrets are taken out of its text.
func authError(host string, err error, hide func(string) string) *AuthError {
	if !IsAuth(err) {
		return nil
	}
	var auth *AuthError
	if errors.As(err, &auth) {
		return auth
	}
	var cmd mongo.CommandError
	if errors.As(err, &cmd) && cmd.Code != 0 {
		return &AuthError{Host: host, Code: cmd.Code, Reason: hide(cmd.Message)}
	}
	return &AuthError{Host: host, Reason: hide(err.Error())}
}
