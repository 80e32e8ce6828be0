package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
)

// The defaults of Settings.
const (
	DefaultRounds    = 5
	DefaultLength    = time.Second
	DefaultMembers   = 3
	DefaultRate      = 2000
	DefaultHeartbeat = mongoconn.DefaultHeartbeat
)

// Settings say what to compare and how. The zero value of every field works.
type Settings struct {
	// URI is the connection string of a real set; "" for the built-in one.
	URI string
	// Members is how many members the built-in set has. Defaults to DefaultMembers.
	Members int
	// Version is the release that the built-in set behaves like. Defaults to its own
	// default.
	Version string
	// Only are the ids of the rows to fill; all for none.
	Only []string
	// Rounds is how often each row is measured. Defaults to DefaultRounds, and to fewer
	// for rows that take long.
	Rounds int
	// Length is how long one side is measured in one round. Defaults to
	// DefaultLength.
	Length time.Duration
	// Rate is how many reads arrive a second where latencies are measured. Defaults to
	// DefaultRate.
	Rate float64
	// Concern is the write concern, "1" or "majority". Defaults to "1".
	Concern string
	// DriverPool is the driver's maxPoolSize. Defaults to whatever suits it best.
	DriverPool int
	// DriverHeartbeat is the driver's heartbeat interval. Defaults to
	// DefaultHeartbeat.
	DriverHeartbeat time.Duration
	// StepDown allows a real set's primary to be made to step down.
	StepDown bool

	// Command runs the built-in set in a process of its own, which takes the flags and
	// the standard input of evenkeel replset. Defaults to this program once more.
	Command []string
}

// Progress is told what goes on, in lines.
type Progress func(line string)

// Report is what came out.
type Report struct {
	Machine Machine `json:"machine"`
	Server  Server  `json:"server"`
	Concern string  `json:"w"`
	// Rounds is how often rows were measured, but for those whose Result says less.
	Rounds  int      `json:"rounds"`
	Results []Result `json:"results"`
	// Skipped are the rows that could not be filled on this server, or at all.
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	CPU  string `json:"cpu,omitempty"` // its name
	Go   string `json:"go"`
	// Load is how many processes have wanted a CPU in the minute before, on the average,
	// where the system tells: on a quiet machine less than there are CPUs.
	Load float64 `json:"load"`
}

// Server is what it was measured against.
type Server struct {
	BuiltIn   bool   `json:"built_in"`
	Version   string `json:"version"`
	Members   int    `json:"members"`
	BulkWrite bool   `json:"bulk_write"` // the server has the command
}

// Skipped is a row that was not filled.
type Skipped struct {
	ID string `json:"id"`
	// Why is "it needs …" for what this server cannot do, and an error otherwise.
	Why string `json:"why"`
	// Failed says that the row should have been filled.
	Failed bool `json:"failed,omitempty"`
}

// Check says what is wrong with s.
func (s *Settings) Check() error {
	_, err := chosen(s.Only)
	switch {
	case err != nil:
		return err
	case s.Rounds < 0 || s.Rounds > 1000:
		return fmt.Errorf("%d rounds; use 1 to 1000", s.Rounds)
	case s.Length < 0 || s.Length > time.Hour:
		return fmt.Errorf("%v are no time to measure for; use some seconds", s.Length)
	case s.Rate < 0 || s.Rate > 1e6:
		return fmt.Errorf("a rate of %v reads a second is none that this program can make", s.Rate)
	case s.Concern != "" && s.Concern != "1" && s.Concern != "majority":
		return fmt.Errorf("the write concern %q is none of the two that are compared: 1, majority", s.Concern)
	case s.DriverPool < 0 || s.DriverPool > 10_000:
		return fmt.Errorf("a pool of %d for the driver; use 1 to 10000", s.DriverPool)
	case s.DriverHeartbeat != 0 && s.DriverHeartbeat < DefaultHeartbeat:
		return fmt.Errorf("the driver takes no heartbeat interval below %v", DefaultHeartbeat)
	}
	return nil
}

func (s Settings) complete() Settings {
	if s.Members == 0 {
		s.Members = DefaultMembers
	}
	if s.Length == 0 {
		s.Length = DefaultLength
	}
	if s.Rate == 0 {
		s.Rate = DefaultRate
	}
	if s.Concern == "" {
		s.Concern = "1"
	}
	if s.DriverHeartbeat == 0 {
		s.DriverHeartbeat = DefaultHeartbeat
	}
	return s
}

// Run compares the two. When ctx ends it returns what it has, with ctx's error.
func Run(ctx context.Context, s Settings, say Progress) (*Report, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	s = s.complete()
	st := &stage{settings: s, place: newPlace(), say: say}
	report := &Report{Machine: machine(), Concern: s.Concern, Rounds: s.Rounds, Results: []Result{}}
	if s.Rounds == 0 {
		report.Rounds = DefaultRounds
	}
	if err := st.open(ctx); err != nil {
		st.close()
		return report, err
	}
	defer st.close()
	report.Server = Server{BuiltIn: st.server.child != nil, Version: st.server.version, Members: st.server.members, BulkWrite: st.server.bulkWrite()}
	all, _ := chosen(s.Only) // Checked above.
	for i := range all {
		sc := &all[i]
		wanted := slices.DeleteFunc(slices.Clone(sc.rows), func(r Row) bool { return len(s.Only) > 0 && !slices.Contains(s.Only, r.ID) })
		skip := func(why string, failed bool) {
			for _, row := range wanted {
				report.Skipped = append(report.Skipped, Skipped{row.ID, why, failed})
				st.sayf("%s: skipped: %s", row.ID, why)
			}
		}
		if sc.needs != nil {
			if why := sc.needs(&st.server, &s); why != "" {
				skip(why, false)
				continue
			}
		}
		results, err := st.play(ctx, sc, wanted)
		for _, one := range results {
			if one.Rounds == 0 && one.OurErrors+one.DriverErrors == 0 {
				report.Skipped = append(report.Skipped, Skipped{one.ID, "it needs numbers that this system, or this server's user, does not give", false})
				continue
			}
			report.Results = append(report.Results, one)
		}
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		if err != nil {
			skip(oneLine(err), true)
		}
	}
	return report, nil
}

// play measures a scenario's rounds. With an error it returns no results.
func (s *stage) play(ctx context.Context, sc *scenario, wanted []Row) ([]Result, error) {
	n := s.settings.Rounds
	if n == 0 {
		if n = DefaultRounds; sc.fewer > 0 {
			n = sc.fewer
		}
	}
	s.sayf("%s: starting", titles(wanted))
	c, err := sc.open(s)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(wanted))
	defer func() { c.finish(results) }()
	var rounds []round
	for i := range n {
		r, err := c.round(ctx, i%2 == 0)
		if err != nil {
			return nil, fmt.Errorf("in round %d: %w", i+1, err)
		}
		rounds = append(rounds, r)
		for _, row := range wanted {
			s.say(progressLine(row, r, i+1, n))
		}
	}
	for i, row := range wanted {
		results[i] = summarize(row, rounds)
	}
	return results, nil
}

// progressLine is what one round has to say on a row.
func progressLine(row Row, r round, i, n int) string {
	one := summarize(row, []round{r})
	line := fmt.Sprintf("%s: round %d of %d: evenkeel %g %s", row.ID, i, n, one.Ours, row.Unit)
	if one.Ratio != nil {
		line += fmt.Sprintf(", driver %g, ratio %g", one.Driver, *one.Ratio)
	}
	if errs := one.OurErrors + one.DriverErrors; errs > 0 {
		line += fmt.Sprintf(", %d errors: %s", errs, one.Error)
	}
	return line
}

// open starts or finds the server and stores the documents.
func (s *stage) open(ctx context.Context) (err error) {
	s.server.uri = s.settings.URI
	if s.server.uri == "" {
		s.say("starting the built-in set")
		argv := s.settings.Command
		if len(argv) == 0 {
			if argv, err = self(); err != nil {
				return err
			}
		}
		starting, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if s.server.child, err = startChild(starting, argv, s.settings.Members, s.settings.Version); err != nil {
			return err
		}
		s.server.uri = s.server.child.uri
	}
	if s.judge, err = openJudge(ctx, s.server.uri); err != nil {
		return err
	}
	s.server.canFail = s.judge.canFail(ctx)
	s.server.version, s.server.maxWire, s.server.members = s.judge.version(ctx), s.judge.hello.MaxWire, len(s.judge.members)
	if n := hostsIn(s.server.uri); n > 0 && n < s.server.members {
		s.sayf("warning: the connection string names %d of %d members; evenkeel reads from those alone, the driver from all", n, s.server.members)
	}
	if s.judge.blind {
		s.say("warning: serverStatus is refused, so that connections and commands are not counted")
	}
	s.sayf("storing %d players", population)
	return s.judge.populate(ctx, s.place)
}

func (s *stage) close() {
	if s.judge != nil {
		if s.server.child == nil { // Otherwise it ends with the set.
			if err := s.judge.drop(s.place); err != nil {
				s.say("warning: the documents could not be dropped: " + oneLine(err))
			}
		}
		s.judge.close()
	}
	if s.server.child != nil {
		s.server.child.close()
	}
}
