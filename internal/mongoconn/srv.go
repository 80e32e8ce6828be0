package mongoconn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// SRVResolver asks a name server for the records behind a mongodb+srv URI.
// *net.Resolver is one.
type SRVResolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

const (
	// lookupTimeout bounds one Resolve of Await.
	lookupTimeout = 10 * time.Second
	// Await waits a random time up to the backoff, which doubles with each failure.
	firstBackoff, lastBackoff = 100 * time.Millisecond, 5 * time.Second
)

// seedlist is a mongodb+srv URI in parts. The rules by which it becomes a plain one
// are those of the Initial DNS Seedlist Discovery that all drivers follow:
// https://www.mongodb.com/docs/manual/reference/connection-string/#srv-connection-format
type seedlist struct {
	user     string // "user:password@", or ""
	name     string // what to ask for
	service  string
	maxHosts int    // 0: all
	path     string // "/database", or ""
	options  []string
	tls      bool // options say tls= or ssl=
}

// parseSeedlist parses what follows mongodb+srv://. Whatever can be said without
// a name server is said now.
func parseSeedlist(rest string) (*URI, error) {
	s := &seedlist{service: "mongodb"}
	if at := strings.IndexByte(rest, '@'); at >= 0 {
		s.user, rest = rest[:at+1], rest[at+1:]
	}
	rest, query, _ := strings.Cut(rest, "?")
	s.name = rest
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		s.name, s.path = rest[:slash], rest[slash:]
	} else if query != "" {
		return nil, errors.New("must have a / before the query ?")
	}
	switch s.name = strings.ToLower(strings.TrimSuffix(s.name, ".")); {
	case s.name == "":
		return nil, errors.New("no host")
	case strings.Contains(s.name, "@"):
		return nil, errors.New("unescaped @ in user or password: write %40")
	case strings.ContainsAny(s.name, "%[]\\ \t\r\n"):
		return nil, fmt.Errorf("%q is no name for a name server", s.name)
	case strings.Contains(s.name, ","):
		return nil, errors.New("mongodb+srv takes one name; the hosts behind it are in its SRV records")
	case strings.Contains(s.name, ":"):
		return nil, errors.New("mongodb+srv takes a name without a port; ports are in its SRV records")
	}
	for _, pair := range optionPairs(query) {
		key, value, _ := strings.Cut(pair, "=")
		if meant, err := url.QueryUnescape(key); err == nil {
			key = meant
		}
		switch strings.ToLower(key) {
		case "srvservicename":
			if s.service = value; len(value) < 1 || len(value) > 62 {
				return nil, errors.New("srvServiceName must have 1 to 62 characters")
			}
			continue
		case "srvmaxhosts":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("srvMaxHosts=%s: want a number from 0", value)
			}
			s.maxHosts = n
			continue
		case "tls", "ssl":
			s.tls = true
		}
		s.options = append(s.options, pair)
	}
	// A host that stands for those to come lets the driver check all the rest.
	u, err := s.plain([]string{"unresolved.invalid:27017"}, nil)
	if err != nil {
		return nil, err
	}
	u.Hosts, u.Options.Hosts, u.srv = nil, nil, s
	return u, nil
}

// plain makes the plain URI of these hosts, with what the TXT record says; the URI's
// own options come later and win.
func (s *seedlist) plain(hosts, txt []string) (*URI, error) {
	query := txt
	if !s.tls {
		query = append(query, "tls=true")
	}
	query = append(query, s.options...)
	path := s.path
	if path == "" {
		path = "/"
	}
	u, err := parsePlain("mongodb://" + s.user + strings.Join(hosts, ",") + path + "?" + strings.Join(query, "&"))
	switch {
	case err != nil:
		return nil, err
	case u.Direct:
		return nil, errors.New("directConnection=true: not with mongodb+srv; write mongodb:// and the host")
	case u.SetName != "" && s.maxHosts > 0:
		return nil, errors.New("srvMaxHosts: not with a replica set, of which every member is needed")
	}
	return u, nil
}

// SRV returns the name to resolve before there are hosts, "" when there are.
func (u *URI) SRV() string {
	if u.srv == nil {
		return ""
	}
	return u.srv.name
}

// Resolve asks the name server once and returns the URI with its hosts, or
// itself when it has them. A nil resolver means net.DefaultResolver.
func (u *URI) Resolve(ctx context.Context, r SRVResolver) (*URI, error) {
	if u.srv == nil {
		return u, nil
	}
	if r == nil {
		r = net.DefaultResolver
	}
	s := u.srv
	fail := func(err error) (*URI, error) {
		return nil, fmt.Errorf("evenkeel: mongodb+srv://%s: %s", s.name, hider(uriSecrets("mongodb://"+s.user))(err.Error()))
	}
	_, records, err := r.LookupSRV(ctx, s.service, "tcp", s.name)
	if err != nil {
		return fail(err)
	}
	hosts, err := s.hosts(records)
	if err != nil {
		return fail(err)
	}
	txt, err := s.text(ctx, r)
	if err != nil {
		return fail(err)
	}
	plain, err := s.plain(hosts, txt)
	if err != nil {
		return fail(err)
	}
	return plain, nil
}

// Await resolves the URI, again and again until the name server gives a good
// answer. Its error is the context's. Failed is told of each failure and of the
// wait until the next try; it may be nil.
func (u *URI) Await(ctx context.Context, r SRVResolver, failed func(err error, next time.Duration)) (*URI, error) {
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		once, cancel := context.WithTimeout(ctx, lookupTimeout)
		plain, err := u.Resolve(once, r)
		cancel()
		if err == nil {
			return plain, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait := rand.N(backoff) + time.Millisecond
		if failed != nil {
			failed(err, wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// hosts returns the hosts of the SRV records. One that lies outside the name's own
// domain spoils them all: whoever can forge an answer could else lead to any
// server with a valid certificate.
func (s *seedlist) hosts(records []*net.SRV) ([]string, error) {
	if len(records) == 0 {
		return nil, errors.New("no SRV records")
	}
	labels := strings.Split(s.name, ".")
	parent := labels
	if len(labels) > 2 {
		parent = labels[1:]
	}
	hosts := make([]string, 0, len(records))
	for _, record := range records {
		target := strings.ToLower(strings.TrimSuffix(record.Target, "."))
		got := strings.Split(target, ".")
		// A name of one or two labels is its own parent domain, and hosts lie below it.
		if len(labels) < 3 && len(got) <= len(labels) || !strings.HasSuffix("."+target, "."+strings.Join(parent, ".")) || len(got) < len(labels) {
			return nil, fmt.Errorf("SRV record for %s, which is not in the domain %s", target, strings.Join(parent, "."))
		}
		if record.Port == 0 {
			return nil, fmt.Errorf("SRV record for %s with port 0", target)
		}
		hosts = append(hosts, net.JoinHostPort(target, strconv.Itoa(int(record.Port))))
	}
	if s.maxHosts > 0 && s.maxHosts < len(hosts) {
		rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		hosts = hosts[:s.maxHosts]
	}
	return hosts, nil
}

// text returns the options in the TXT record, if there is one. Only a name
// server's word that there is none counts as none: a set's name or an authSource must not get
// lost with a packet.
func (s *seedlist) text(ctx context.Context, r SRVResolver) ([]string, error) {
	records, err := r.LookupTXT(ctx, s.name)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil, nil
	case err != nil:
		return nil, err
	case len(records) == 0:
		return nil, nil
	case len(records) > 1:
		return nil, fmt.Errorf("%d TXT records, want one at most", len(records))
	}
	pairs := optionPairs(records[0])
	for _, pair := range pairs {
		key, _, ok := strings.Cut(pair, "=")
		switch strings.ToLower(key) {
		case "authsource", "replicaset", "loadbalanced":
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("TXT record with %q: only authSource, replicaSet and loadBalanced may be there", key)
		}
	}
	return pairs, nil
}
