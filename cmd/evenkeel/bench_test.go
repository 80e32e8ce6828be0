package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/cmd/evenkeel/internal/bench"
	"github.com/evenkeel/evenkeel/replset"
)

// benched is what --json prints.
type benched struct {
	Server  bench.Server
	Rounds  int
	Results []bench.Result
	Skipped []bench.Skipped
}

func (b *benched) of(t *testing.T, id string) bench.Result {
	t.Helper()
	for _, r := range b.Results {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("there is no %s in %+v", id, b)
	return bench.Result{}
}

// runsBench runs the command with --json.
func runsBench(t *testing.T, args ...string) *benched {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), append([]string{"bench", "--json"}, args...), nil, &stdout, &stderr)
	out := &benched{}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil || status != exitKept {
		t.Fatalf("exit status %d, %v\n%s%s", status, err, &stdout, &stderr)
	}
	if !strings.Contains(stderr.String(), "round 1 of 1") {
		t.Errorf("no progress is shown: %s", &stderr)
	}
	return out
}

// long is for tests that run the bench once more, with little code that others do not run.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the bench for some seconds")
	}
}

func TestBenchFillsTheRowsThatItIsAskedFor(t *testing.T) {
	args := []string{"--only", "point_reads_16,updates_1,update_allocs_1,serial_inserts_256", "--rounds", "1", "--seconds", "0.1"}
	out := runsBench(t, args...)
	// On a busy machine the one caller of a side may not get to run in a tenth of a second.
	for try := 1; try < 3 && len(out.Skipped) > 0; try++ {
		out = runsBench(t, args...)
	}
	if len(out.Results) != 4 || len(out.Skipped) > 0 || out.Rounds != 1 {
		t.Errorf("%+v", out)
	}
	for _, r := range out.Results {
		if r.Ours <= 0 || r.Driver <= 0 || r.Ratio == nil || r.OurErrors+r.DriverErrors > 0 || r.OurConnections < 1 || r.DriverConnections < 1 {
			t.Errorf("%+v", r)
			continue
		}
		// Of one round the three are one number, but for their rounding.
		if math.Abs(*r.Ratio/(r.Ours/r.Driver)-1) > 0.01 || *r.Min != *r.Ratio || *r.Max != *r.Ratio {
			t.Errorf("%+v: ratio %v, of %v to %v", r, *r.Ratio, *r.Min, *r.Max)
		}
	}
	if allocs := out.of(t, "update_allocs_1"); !allocs.Lower || allocs.Driver < 10 || allocs.Driver > 10_000 {
		t.Errorf("%+v", allocs)
	}
}

// realSet is a set that the bench has not started.
func realSet(t *testing.T) (*replset.Set, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	set, err := replset.Start(replset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	if err := set.AwaitSecondaries(ctx); err != nil {
		t.Fatal(err)
	}
	return set, ctx
}

// poolNote is what a row says of the sizes of the driver's pool that were tried.
var poolNote = regexp.MustCompile(`maxPoolSize is (\d+), its best of \[\d+ 100\]`)

func TestBenchDoesWithoutServerStatusWhereThatIsRefused(t *testing.T) {
	long(t)
	set, ctx := realSet(t)
	for _, m := range set.Members() {
		err := asJudge(ctx, "mongodb://"+m.Host()+"/?directConnection=true", func(c *mongo.Client) error {
			return c.Database("admin").RunCommand(ctx, bson.D{
				{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: "alwaysOn"},
				{Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A{"serverStatus"}}, {Key: "errorCode", Value: 13}}},
			}).Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	out := runsBench(t, "--uri", set.URI(), "--only", "read_commands_256,point_reads_256", "--rounds", "1", "--seconds", "0.1")
	if len(out.Skipped) != 1 || out.Skipped[0].ID != "read_commands_256" || out.Skipped[0].Failed {
		t.Errorf("skipped: %+v", out.Skipped)
	}
	if r := out.of(t, "point_reads_256"); r.Ratio == nil || r.OurConnections != 0 || !poolNote.MatchString(r.Note) {
		t.Errorf("%+v", r)
	}
}

func TestBenchLeavesARealSetAsItWas(t *testing.T) {
	long(t)
	set, ctx := realSet(t)
	out := runsBench(t, "--uri", set.URI(), "--only", "slow_member_p99,write_gap_stepdown_ms,frozen_member_max,read_commands_256,router_ns", "--rounds", "1", "--seconds", "0.1")
	if len(out.Skipped) != 2 || out.Skipped[0].Failed || !strings.Contains(out.Skipped[0].Why, "built-in") || !strings.Contains(out.Skipped[1].Why, "--stepdown") {
		t.Errorf("skipped: %+v", out.Skipped)
	}
	// The driver has nothing but finds of one document.
	if r := out.of(t, "read_commands_256"); r.Driver < 0.99 || r.Driver > 1.1 {
		t.Errorf("%+v", r)
	}
	if r := out.of(t, "slow_member_p99"); r.OurErrors+r.DriverErrors > 0 || r.Ratio == nil {
		t.Errorf("%+v", r)
	}
	if r := out.of(t, "router_ns"); r.Ours <= 0 || r.Driver != 0 || r.Ratio != nil {
		t.Errorf("%+v", r)
	}
	// Nothing is left behind, and the slow member is as fast as before.
	err := asJudge(ctx, set.URI(), func(c *mongo.Client) error {
		names, err := c.Database("evenkeel_bench").ListCollectionNames(ctx, bson.D{})
		if len(names) > 0 {
			t.Errorf("%v are left behind", names)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, m := range set.Members() {
		err = asJudge(ctx, "mongodb://"+m.Host()+"/?directConnection=true&readPreference=nearest", func(c *mongo.Client) error {
			fastest := time.Hour
			for range 5 {
				start := time.Now()
				_ = c.Database("evenkeel_bench").Collection("any").FindOne(ctx, bson.D{}).Err() // There is none.
				fastest = min(fastest, time.Since(start))
			}
			if fastest >= 50*time.Millisecond {
				t.Errorf("%s is slow still: %v", m.Host(), fastest)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestBenchMeasuresFaultsOfTheBuiltInSet(t *testing.T) {
	long(t)
	out := runsBench(t, "--only", "returned_member_ms,write_gap_stepdown_ms", "--rounds", "1", "--seconds", "0.1", "--server-version", "4.4")
	if v := out.Server; !v.BuiltIn || !strings.HasPrefix(v.Version, "4.4.") || v.BulkWrite || v.Members != 3 {
		t.Errorf("the server is %+v", v)
	}
	for _, id := range []string{"returned_member_ms", "write_gap_stepdown_ms"} {
		if r := out.of(t, id); r.Ratio == nil || r.OurErrors > 0 || r.Rounds != 1 {
			t.Errorf("%+v", r)
		}
	}
	// The window alone is 200 ms long.
	if r := out.of(t, "returned_member_ms"); r.Ours < 180 || r.Driver < 180 {
		t.Errorf("%+v", r)
	}
}

func TestUpdatesShareCommandsAlsoWhereThereIsNoBulkWrite(t *testing.T) {
	long(t)
	out := runsBench(t, "--only", "update_commands_256", "--rounds", "1", "--seconds", "0.1", "--server-version", "4.4")
	if r := out.of(t, "update_commands_256"); r.Ours > 0.5 || r.Driver < 0.9 || r.OurErrors+r.DriverErrors > 0 || !strings.Contains(r.Note, "errors only") {
		t.Errorf("%+v", r)
	}
}

func TestBenchListsItsRows(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"bench", "--list"}, nil, &stdout, &stderr); status != exitKept || stderr.Len() > 0 {
		t.Errorf("exit status %d, %s", status, &stderr)
	}
	for _, row := range bench.Rows() {
		if !strings.Contains(stdout.String(), row.ID+" ") || !strings.Contains(stdout.String(), row.Does) {
			t.Errorf("%s is not listed", row.ID)
		}
	}
}

func TestTheTableSaysWhereEvenkeelLoses(t *testing.T) {
	ratio := func(r, least, most float64) (*float64, *float64, *float64) { return &r, &least, &most }
	report := &bench.Report{Rounds: 5, Results: []bench.Result{
		{ID: "fast", Unit: "1/s", Ours: 2, Driver: 1, Rounds: 5, Note: "a note"},
		{ID: "slow", Unit: "ms", Ours: 2, Driver: 1, Lower: true, Rounds: 5, OurErrors: 3, Error: "no answer", Note: "a note"},
		{ID: "alone", Unit: "ns", Ours: 90, Rounds: 5},
	}, Skipped: []bench.Skipped{{ID: "gone", Why: "it needs more"}, {ID: "lost", Why: "no server", Failed: true}}}
	for i := range 2 {
		r := &report.Results[i]
		r.Ratio, r.Min, r.Max = ratio(2, 1.5, 2.5)
	}
	table := strings.Join(benchTable(report), "\n")
	for _, want := range []string{
		"2.00  1.50 … 2.50       better\n", "2.00  1.50 … 2.50       WORSE\n", "Evenkeel does worse in 1 of 3 rows.",
		"slow: 3 errors of evenkeel's, 0 of the driver's; one of them: no answer", "skipped: it needs more", "FAILED: no server", "fast, slow: a note\n",
	} {
		if !strings.Contains(table+"\n", want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
}

func TestABenchThatIsInterruptedSaysSo(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var stdout bytes.Buffer
	stderr := &watcher{seen: func(text string) {
		if strings.Contains(text, "round 1 of 100") {
			interrupt()
		}
	}}
	start := time.Now()
	status := run(ctx, []string{"bench", "--only", "router_ns,point_reads_1", "--rounds", "100", "--seconds", "0.1"}, nil, &stdout, stderr)
	if status != exitBroken || !strings.Contains(stderr.String(), "interrupted") || time.Since(start) > 30*time.Second {
		t.Errorf("exit status %d after %v: %s", status, time.Since(start), stderr)
	}
}

// watcher is told of what is written.
type watcher struct {
	bytes.Buffer
	seen func(text string)
}

func (w *watcher) Write(b []byte) (int, error) {
	w.seen(string(b))
	return w.Buffer.Write(b)
}

func TestTheServerOfABenchThatIsKilledEndsToo(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("it takes /proc to find the server's process")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(program, "bench", "--only", "point_reads_1", "--rounds", "100")
	progress, err := parent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 0, 4096)
	for !bytes.Contains(text, []byte("round 1")) {
		n, err := progress.Read(text[len(text):cap(text)])
		if text = text[:len(text)+n]; err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	children := childrenOf(t, parent.Process.Pid)
	if len(children) != 1 {
		t.Fatalf("the bench has %d children", len(children))
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, progress)
	_ = parent.Wait() // It was killed.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); runs(children[0]); {
		select {
		case <-tick.C:
		case <-late:
			if orphan, err := os.FindProcess(children[0]); err == nil {
				_ = orphan.Kill()
			}
			t.Fatal("the server runs on")
		}
	}
}

// childrenOf are the processes that one has started.
func childrenOf(t *testing.T, pid int) (children []int) {
	t.Helper()
	lists, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Skip("the kernel does not tell")
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // A thread may have ended.
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}

// runs says whether a process does; one that has ended and that nobody has asked for
// does not.
func runs(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
