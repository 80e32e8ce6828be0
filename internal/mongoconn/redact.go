package mongoconn

import (
	"net/url"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const hiddenWord = "[hidden]"

// sessionToken is the one authMechanismProperty that is a secret.
const sessionToken = "AWS_SESSION_TOKEN"

// hider returns a function that takes every trace of the secrets out of a text.
// Errors of a parser quote what it could not read, which may be any part of a
// password with a character that should have been escaped: hence a word is hidden
// if it shares three bytes in a row with a secret, or all of a shorter secret.
// Hiding too much costs a clearer message, no more.
func hider(secrets []string) func(string) string {
	var parts []string
	for _, secret := range secrets {
		parts = appendParts(parts, secret)
		// As %q writes it.
		if quoted := strconv.Quote(secret); quoted != `"`+secret+`"` {
			parts = appendParts(parts, quoted[1:len(quoted)-1])
		}
	}
	return func(text string) string {
		secret := make([]bool, len(text)) // which bytes are part of a secret
		for _, part := range parts {
			for at := 0; ; at++ {
				i := strings.Index(text[at:], part)
				if i < 0 {
					break
				}
				at += i
				for j := range part {
					secret[at+j] = true
				}
			}
		}
		var out strings.Builder
		for at := 0; at < len(text); {
			// A word, or a stretch of spaces; one that has a secret byte in it goes.
			space, end, hide := text[at] == ' ', at, false
			for ; end < len(text) && (text[end] == ' ') == space; end++ {
				hide = hide || secret[end]
			}
			switch {
			case !hide:
				out.WriteString(text[at:end])
			case space:
				out.WriteByte(' ')
			default:
				out.WriteString(hiddenWord)
			}
			at = end
		}
		return out.String()
	}
}

// appendParts appends what must not be seen of a secret.
func appendParts(parts []string, secret string) []string {
	const size = 3
	if secret == "" {
		return parts
	}
	for i := 0; i == 0 || i+size <= len(secret); i++ {
		parts = append(parts, secret[i:min(i+size, len(secret))])
	}
	return parts
}

// passwordless reports whether a URI names a mechanism that knows a user without a password.
func passwordless(uri string) bool {
	for _, pair := range uriOptionPairs(uri) {
		key, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(key, "authMechanism") && (strings.EqualFold(value, "MONGODB-X509") || strings.EqualFold(value, "MONGODB-OIDC")) {
			return true
		}
	}
	return false
}

// hiderOf hides what is secret in o.
func hiderOf(o *options.ClientOptions) func(string) string {
	secrets := uriSecrets(o.GetURI())
	if o.Auth != nil {
		secrets = append(secrets, o.Auth.Password, o.Auth.AuthMechanismProperties[sessionToken])
	}
	return hider(secrets)
}

// uriSecrets returns the secrets of a URI that need not be well-formed, as they
// are written and as they are meant.
func uriSecrets(uri string) (secrets []string) {
	add := func(s string) {
		secrets = append(secrets, s)
		if meant, err := url.QueryUnescape(s); err == nil && meant != s {
			secrets = append(secrets, meant)
		}
		if meant, err := url.PathUnescape(s); err == nil && meant != s {
			secrets = append(secrets, meant)
		}
	}
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		rest = uri
	}
	// The last @, not the first: an unescaped one in the password splits it.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if _, password, ok := strings.Cut(rest[:at], ":"); ok {
			add(password)
		} else if !strings.ContainsAny(rest[:at], "/?") && !passwordless(rest) {
			// Something that stands where a user stands: perhaps a token.
			add(rest[:at])
		}
	}
	if _, query, ok := strings.Cut(rest, "?"); ok {
		for _, pair := range optionPairs(query) {
			key, value, _ := strings.Cut(pair, "=")
			switch strings.ToLower(key) {
			case "tlscertificatekeyfilepassword", "sslclientcertificatekeypassword":
				add(value)
			case "authmechanismproperties":
				if _, token, ok := strings.Cut(value, sessionToken); ok {
					add(strings.TrimPrefix(token, ":"))
				}
			}
		}
	}
	return secrets
}
