package mongoconn

import (
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// URI is a parsed connection string.
type URI struct {
	// Hosts are the configured hosts in their order, each once, in lower case and with a port.
	// None for a mongodb+srv URI that is not resolved.
	Hosts []string
	// SetName is the set's name, "" when none is named.
	SetName string
	// HasReadPreference and HasWriteConcern say that the URI names one; it is in
	// Options.
	HasReadPreference, HasWriteConcern bool
	// Direct says that the URI asks for a direct connection, to its only host.
	Direct bool
	// Options are the driver's, as the URI gives them. Of a mongodb+srv URI that is
	// not resolved, they have no hosts and may lack what the name server adds.
	Options *options.ClientOptions

	srv *seedlist
}

// URIError says what is wrong with a connection string. It never holds a
// password.
type URIError struct{ Reason string }

func (e *URIError) Error() string { return "evenkeel: connection string: " + e.Reason }

// ParseURI parses a connection string, without asking a name server. Its error
// is a *URIError.
func ParseURI(uri string) (*URI, error) {
	hide := hider(uriSecrets(uri))
	u, err := parse(uri)
	if err != nil {
		return nil, &URIError{Reason: hide(err.Error())}
	}
	return u, nil
}

func parse(uri string) (u *URI, err error) {
	if err := checkPreference(uri); err != nil {
		return nil, err
	}
	if rest, ok := strings.CutPrefix(uri, "mongodb+srv://"); ok {
		u, err = parseSeedlist(rest)
	} else {
		u, err = parsePlain(uri)
	}
	if err != nil {
		return nil, err
	}
	return u, checkOptions(uri)
}

func parsePlain(uri string) (*URI, error) {
	o := options.Client().ApplyURI(uri)
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.LoadBalanced != nil && *o.LoadBalanced {
		return nil, errors.New("loadBalanced=true: behind a load balancer no member can be told from another; name the members instead")
	}
	u := &URI{
		HasReadPreference: o.ReadPreference != nil,
		HasWriteConcern:   o.WriteConcern != nil,
		Direct:            o.Direct != nil && *o.Direct,
		Options:           o,
	}
	if o.ReplicaSet != nil {
		u.SetName = *o.ReplicaSet
	}
	seen := map[string]bool{}
	for _, host := range o.Hosts {
		host = Canonical(host)
		// What a Dialer cannot dial can never work.
		if _, err := NewDialer(DialerConfig{Host: host}); err != nil {
			return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "evenkeel: "))
		}
		if !seen[host] {
			seen[host] = true
			u.Hosts = append(u.Hosts, host)
		}
	}
	if len(u.Hosts) == 0 {
		return nil, errors.New("no host")
	}
	return u, nil
}
