package server

import (
	"crypto/rand"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/replset/internal/query"
	"github.com/evenkeel/evenkeel/replset/internal/repl"
)

var adminCommands = []*command{
	configureFailPointCommand,
	{name: "ping", run: ping, noAuth: true, inV1: true},
	{name: "buildInfo", aliases: []string{"buildinfo"}, run: buildInfo, noAuth: true},
	{name: "serverStatus", run: serverStatus},
	{name: "getParameter", run: getParameter, admin: true},
	{name: "getCmdLineOpts", run: getCmdLineOpts, admin: true},
	{name: "getLog", run: getLog, admin: true},
	{name: "hostInfo", run: hostInfo},
	{name: "whatsmyuri", run: whatsMyURI, noAuth: true},
	{name: "fsync", run: refuseFsync, admin: true},
	{name: "explain", run: refuseExplain, where: optIn, inV1: true},
	{name: "commitTransaction", run: refuseTransactionEnd, where: primaryOnly, admin: true, writeConcern: true, retryable: true, endsTxn: true, inV1: true},
	{name: "abortTransaction", run: refuseTransactionEnd, where: primaryOnly, admin: true, writeConcern: true, retryable: true, endsTxn: true, inV1: true},
}

// newUUID returns a random UUID.
func newUUID() (id [16]byte) {
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// noFields refuses every field: for commands that have none of their own.
func (r *request) noFields() error {
	p := r.fields()
	for p.next() {
		p.unknown()
	}
	return p.err
}

// ping takes any field, as in the server.
func ping(*conn, *request) error { return nil }

func buildInfo(c *conn, _ *request) error {
	w := &c.out
	w.string("version", c.s.version.String())
	w.string("gitVersion", strings.Repeat("0", 40))
	w.close(w.array("modules"))
	w.string("allocator", "go")
	w.string("javascriptEngine", "none")
	w.string("sysInfo", "deprecated")
	at := w.array("versionArray")
	for i, n := range c.s.version.release {
		w.int32At(i, n)
	}
	w.int32At(len(c.s.version.release), 0) // a release, and no candidate for one
	w.close(at)
	at = w.doc("openssl")
	w.string("running", "disabled")
	w.close(at)
	at = w.doc("buildEnvironment")
	w.string("target_arch", runtime.GOARCH)
	w.string("target_os", runtime.GOOS)
	w.close(at)
	w.int32("bits", 64)
	w.bool("debug", false)
	w.int32("maxBsonObjectSize", maxDocument)
	w.strings("storageEngines", []string{"inMemory"})
	return nil
}

func serverStatus(c *conn, r *request) error {
	// Every other field switches a section on or off; those that exist here are
	// always given.
	w := &c.out
	st := c.s.node.Status()
	counts := c.s.Counters()
	host := st.Me
	if host == "" {
		host, _ = os.Hostname()
	}
	up := time.Since(c.s.started)
	w.string("host", host)
	w.string("version", c.s.version.String())
	w.string("process", "mongod")
	w.int64("pid", int64(os.Getpid()))
	w.double("uptime", up.Truncate(time.Second).Seconds())
	w.int64("uptimeMillis", up.Milliseconds())
	w.int64("uptimeEstimate", int64(up/time.Second))
	w.date("localTime", time.Now())
	at := w.doc("connections")
	w.int32("current", int32(counts.Connections))
	w.int32("available", int32(1_000_000-min(counts.Connections, 1_000_000)))
	w.int64("totalCreated", counts.TotalConnections)
	w.int32("active", int32(counts.Connections))
	w.close(at)
	metrics := counts.Commands
	at = w.doc("opcounters")
	w.int64("insert", c.s.ops.insert.Load())
	w.int64("query", metrics["find"]+metrics["aggregate"])
	w.int64("update", c.s.ops.update.Load())
	w.int64("delete", c.s.ops.delete.Load())
	w.int64("getmore", metrics["getMore"])
	total := int64(0)
	for name, n := range metrics {
		switch name {
		case "find", "getMore", "insert", "update", "delete", "bulkWrite":
		default:
			total += n
		}
	}
	w.int64("command", total)
	w.close(at)
	at = w.doc("metrics")
	commands := w.doc("commands")
	for _, cmd := range commandList {
		if n := metrics[cmd.name]; n > 0 {
			one := w.doc(cmd.name)
			w.int64("total", n)
			w.close(one)
		}
	}
	w.close(commands)
	open := w.doc("cursor")
	total = int64(c.s.cursors.len())
	opened := w.doc("open")
	w.int64("total", total)
	w.close(opened)
	w.close(open)
	w.close(at)
	if st.Role != repl.Standalone {
		at = w.doc("repl")
		c.appendRole(&st, false)
		w.close(at)
	}
	at = w.doc("storageEngine")
	w.string("name", "inMemory")
	w.bool("supportsCommittedReads", true)
	w.bool("persistent", false)
	w.close(at)
	return nil
}

// parameters are what drivers and shells ask getParameter for.
func (c *conn) parameters() bson.D {
	mechanisms := []string{}
	if c.s.users != nil {
		mechanisms = slices.Clone(scramMechanisms)
		if c.s.tls != nil {
			mechanisms = append(mechanisms, mechanismX509)
		}
	}
	return bson.D{
		{Key: "authenticationMechanisms", Value: mechanisms},
		{Key: "enableTestCommands", Value: true},
		{Key: "featureCompatibilityVersion", Value: bson.D{{Key: "version", Value: c.s.version.series}}},
		{Key: "logicalSessionRefreshMillis", Value: int32(5 * 60 * 1000)},
		{Key: "localLogicalSessionTimeoutMinutes", Value: int32(sessionTimeout / time.Minute)},
		{Key: "requireApiVersion", Value: false},
		{Key: "cursorTimeoutMillis", Value: cursorTimeout.Milliseconds()},
	}
}

func getParameter(c *conn, r *request) error {
	all := r.first.Type == bson.TypeString && string(text(r.first)) == "*"
	params := c.parameters()
	var chosen bson.D
	for _, f := range r.args {
		if string(f.key) == "allParameters" {
			all = all || query.Truthy(f.value)
			continue
		}
		for _, p := range params {
			if p.Key == string(f.key) {
				chosen = append(chosen, p)
			}
		}
	}
	if all {
		chosen = params
	}
	if len(chosen) == 0 {
		return refuse(codeInvalidOptions, "no option found to get")
	}
	c.out.fields(chosen)
	return nil
}

func getCmdLineOpts(c *conn, r *request) error {
	if err := r.noFields(); err != nil {
		return err
	}
	argv := []string{"mongod"}
	set := c.s.node.Status().SetName
	if set != "" {
		argv = append(argv, "--replSet", set)
	}
	w := &c.out
	w.strings("argv", argv)
	at := w.doc("parsed")
	if set != "" {
		in := w.doc("replication")
		w.string("replSet", set)
		w.close(in)
	}
	if c.s.users != nil {
		in := w.doc("security")
		w.string("authorization", "enabled")
		w.close(in)
	}
	w.close(at)
	return nil
}

func getLog(c *conn, r *request) error {
	if r.first.Type != bson.TypeString {
		return errType(r.name, r.name, r.first.Type, "string")
	}
	if err := r.noFields(); err != nil {
		return err
	}
	switch name := string(text(r.first)); name {
	case "*":
		c.out.strings("names", []string{"global", "startupWarnings"})
	case "global", "startupWarnings":
		c.out.int32("totalLinesWritten", 0)
		c.out.strings("log", nil)
	default:
		return refuse(codeInvalidOptions, "no RecentEntries named: %s", name)
	}
	return nil
}

func hostInfo(c *conn, r *request) error {
	if err := r.noFields(); err != nil {
		return err
	}
	w := &c.out
	host, _ := os.Hostname()
	at := w.doc("system")
	w.date("currentTime", time.Now())
	w.string("hostname", host)
	w.int32("cpuAddrSize", 64)
	w.int32("numCores", int32(runtime.NumCPU()))
	w.string("cpuArch", runtime.GOARCH)
	w.bool("numaEnabled", false)
	w.close(at)
	at = w.doc("os")
	w.string("type", runtime.GOOS)
	w.string("name", runtime.GOOS)
	w.string("version", "")
	w.close(at)
	w.close(w.doc("extra"))
	return nil
}

func whatsMyURI(c *conn, r *request) error {
	if err := r.noFields(); err != nil {
		return err
	}
	c.out.string("you", c.raw.RemoteAddr().String())
	return nil
}

func refuseFsync(*conn, *request) error {
	return refuse(codeNotImplemented, "fsync is not supported: nothing is on a disk")
}

func refuseExplain(*conn, *request) error {
	return refuse(codeNotImplemented, "explain is not supported")
}

func refuseTransactionEnd(_ *conn, r *request) error {
	return refuse(codeCommandFailed, "%s must be run within a transaction", r.name)
}
