package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// served is a set that the command replset runs.
type served struct {
	t      *testing.T
	stdin  io.WriteCloser
	stdout *bufio.Reader
	status chan int // its exit status
	first  string   // the first line
}

// serveSet runs the command, and ends it with the test.
func serveSet(t *testing.T, ctx context.Context, args ...string) *served {
	t.Helper()
	input, stdin := io.Pipe()
	stdout, output := io.Pipe()
	s := &served{t: t, stdin: stdin, stdout: bufio.NewReader(stdout), status: make(chan int, 1)}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		var stderr bytes.Buffer
		s.status <- run(ctx, append([]string{"replset", "--election-timeout", "200ms"}, args...), input, output, &stderr)
		output.CloseWithError(io.EOF)
		if stderr.Len() > 0 {
			t.Errorf("standard error: %s", &stderr)
		}
	}()
	t.Cleanup(func() {
		cancel()
		stdin.Close()
		_, _ = io.Copy(io.Discard, stdout) // Until it has ended.
	})
	s.first = s.line()
	return s
}

func (s *served) line() string {
	s.t.Helper()
	line, err := s.stdout.ReadString('\n')
	if err != nil {
		s.t.Fatalf("after %q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// ask gives a command and returns its answer.
func (s *served) ask(command string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, command+"\n"); err != nil {
		s.t.Fatal(err)
	}
	return s.line()
}

// ends waits until the command has, with status 0.
func (s *served) ends(t *testing.T) {
	t.Helper()
	select {
	case status := <-s.status:
		if status != exitKept {
			t.Errorf("exit status %d", status)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it runs on")
	}
}

func reach(t *testing.T, uri string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetHeartbeatInterval(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	if _, err := client.Database("game").Collection("players").InsertOne(ctx, bson.D{{Key: "gold", Value: 7}}); err != nil {
		t.Error(err)
	}
	if err := client.Ping(ctx, readpref.Secondary()); err != nil {
		t.Error(err)
	}
}

func TestTheFirstLineOfReplsetIsAURIThatWorks(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--members", "2", "--name", "rs7", "--tls", "on"},
		{"--tls", "mutual", "--user", "ann:s3cret:/@", "--user", "bob:x"},
	} {
		s := serveSet(t, t.Context(), args...)
		reach(t, s.first)
		if answer := s.ask("quit"); answer != "ok" {
			t.Errorf("quit: %q", answer)
		}
		s.ends(t)
		if _, file, ok := strings.Cut(s.first, "tlsCAFile="); ok {
			file, _, _ = strings.Cut(file, "&")
			file = strings.ReplaceAll(file, "%2F", "/")
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("%s is still there: %v", file, err)
			}
		}
	}
}

func TestReplsetObeysEachLineWithOneLine(t *testing.T) {
	s := serveSet(t, t.Context(), "--members", "4")
	state := func(i string) string {
		_, rest, _ := strings.Cut(s.ask("status"), " "+i+"=")
		rest, _, _ = strings.Cut(rest, " ")
		_, state, _ := strings.Cut(rest, ",")
		return state
	}
	if got := state("0"); got != "PRIMARY" && got != "SECONDARY" {
		t.Errorf("member 0 is %q", got)
	}
	for _, c := range []struct{ command, answer string }{
		{"await", "ok"}, {"stepdown", "ok"}, {"await", "ok"},
		{"kill 2", "ok"}, {"kill 2", "ok"}, {"restart 2", "ok"}, {"await", "ok"},
		{" slow  2 find 50ms", "ok"}, {"slow 2 all 0", "ok"}, {"slow 2 find -1s", "error: duration"}, {"slow 2 find", "error: write: slow N COMMAND DURATION"},
		{"slow 2 fnid 1s", "error: the members know no command"},
		{"cut 2 find before 1", "ok"}, {"cut 2 all within 0", "ok"}, {"cut 2 find now 1", "error: \"now\""}, {"cut 2 find before x", "error: "}, {"cut 2 fnid before 1", "error: the members"},
		{"overload 2 find 0.5", "ok"}, {"overload 2 find 2", "error: share"}, {"refuse 2", "ok"}, {"calm 2", "ok"}, {"calm 2", "ok"}, {"calm 9", "error: member"},
		{"latency 2 find 0.5=1ms 0.99=2ms", "ok"}, {"latency 2 all 1=1ms", "ok"}, {"latency 2 find", "error: write quantiles"}, {"latency 2 find x=1ms", "error: quantile"}, {"latency 2 find 0.5", "error: duration"},
		{"latency 2 find 0.5=2ms 0.6=1ms", "error: quantile \"0.6=1ms\" is less"}, {"latency 2 find 0.5=1ms 0.5=1ms", "error: quantile"}, {"only game", "ok"}, {"only *", "ok"}, {"calm 2", "ok"},
		{"link 2 hole", "ok"}, {"link 2 mute", "ok"}, {"link 2 deaf", "ok"}, {"link 2 whole", "ok"}, {"link 2 dead", "error: \"dead\" is none of"}, {"link 7 hole", "error: member"},
		{"resync 2 1ms", "ok"}, {"resync 2 long", "error: duration"}, {"await", "ok"},
		{"priority 2 0", "ok"}, {"vote 2 off", "ok"}, {"vote 2 maybe", "error: \"maybe\" is neither"}, {"priority 2 2", "error: replset: changing"}, {"priority 2 x", "error: priority"}, {"vote 2 on", "ok"}, {"priority 2 1", "ok"},
		{"hide 2 on", "ok"}, {"hide 2 off", "ok"}, {"hide 2 2", "error: "}, {"delay 2 1s", "ok"}, {"delay 2 0", "ok"}, {"delay 2 -1s", "error: "}, {"tag 2 dc=east use=game", "ok"}, {"tag 2", "ok"}, {"tag 2 dc", "error: tag"}, {"await", "ok"},
		{"lag 2 1ms", "ok"}, {"lag 2 much", "error: duration"}, {"lag 2 0", "ok"},
		{"partition 0,1 2", "ok"}, {"heal", "ok"}, {"partition 3", "ok"}, {"heal", "ok"}, {"partition 0,7 2", `error: member "7" is none; use 0 to 3`}, {"partition", "error: write:"}, {"await", "ok"},
		{"swap 1 2", "ok"}, {"restore", "ok"}, {"alternate 1 1 2", "ok"}, {"restore", "ok"}, {"swap 1", "error: write: swap A B"},
		{"stranger 3", "ok"}, {"stranger 3", "ok"}, {"restore", "ok"},
		{"add", "ok member 4 at "}, {"remove 4", "ok"}, {"return 4", "ok"}, {"return 4", "error: "}, {"remove 4", "ok"},
		{"standalone 4", "ok"}, {"restart 4", "ok"},
		{"maintenance 9 on", "error: member"}, {"maintenance 1 maybe", "error: "}, {"kill", "error: write: kill N"}, {"kill two", "error: member"},
		{"bake", `error: there is no command "bake"`}, {"help", "ok status; kill N; "}, {"quit now", "error: write: quit"},
	} {
		if answer := s.ask(c.command); !strings.HasPrefix(answer, c.answer) || c.answer == "ok" && answer != "ok" {
			t.Errorf("%q: %q, not %q", c.command, answer, c.answer)
		}
	}
	for _, c := range []struct{ command, state string }{
		{"freeze 1", "FROZEN"}, {"unfreeze 1", ""}, {"kill 1", "DOWN"}, {"restart 1", ""}, {"standalone 1", "STANDALONE"}, {"restart 1", ""},
	} {
		if answer := s.ask(c.command); answer != "ok" {
			t.Errorf("%q: %q", c.command, answer)
		}
		if got := state("1"); c.state != "" && got != c.state {
			t.Errorf("after %q, member 1 is %q", c.command, got)
		}
	}
	for i, secondary := range []string{"0", "1"} {
		if s.ask("await"); state(secondary) == "PRIMARY" {
			continue
		}
		if answer := s.ask("maintenance " + secondary + " on"); answer != "ok" || state(secondary) != "RECOVERING" {
			t.Errorf("%d: maintenance: %q, and then %q", i, answer, state(secondary))
		}
		break
	}
}

func TestWhatReplsetIsToldToCutIsCutUntilItIsToldToBeCalm(t *testing.T) {
	s := serveSet(t, t.Context(), "--members", "1")
	client, err := mongo.Connect(options.Client().ApplyURI(s.first).SetRetryReads(false).SetHeartbeatInterval(500 * time.Millisecond).
		SetServerMonitoringMode(options.ServerMonitoringModePoll))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	find := func() error {
		_, err := client.Database("game").Collection("players").Find(t.Context(), bson.D{})
		return err
	}
	if answer := s.ask("cut 0 find reply 0"); answer != "ok" {
		t.Fatal(answer)
	}
	if err := find(); !mongo.IsNetworkError(err) {
		t.Errorf("a find that is cut: %v", err)
	}
	if answer := s.ask("calm 0"); answer != "ok" {
		t.Fatal(answer)
	}
	if err := find(); err != nil {
		t.Errorf("a find after calm: %v", err)
	}
}

func TestReplsetSaysItAllInJSONToo(t *testing.T) {
	s := serveSet(t, t.Context(), "--json", "--tls", "mutual", "--members", "2")
	var ready struct {
		Type, URI, Name    string
		Hosts              []string
		CAFile             string `json:"ca_file"`
		CertificateKeyFile string `json:"certificate_key_file"`
	}
	if err := json.Unmarshal([]byte(s.first), &ready); err != nil {
		t.Fatal(err)
	}
	if ready.Type != "ready" || ready.Name != "rs0" || len(ready.Hosts) != 2 || ready.CAFile == "" || ready.CertificateKeyFile == "" {
		t.Errorf("ready: %s", s.first)
	}
	reach(t, ready.URI)
	var reply struct {
		Type, Command, Error string
		OK                   bool
		Members              []struct {
			Index       int
			Host, State string
			Connections int
			Writes      int64
		}
	}
	if err := json.Unmarshal([]byte(s.ask("status")), &reply); err != nil {
		t.Fatal(err)
	}
	if reply.Type != "reply" || reply.Command != "status" || !reply.OK || len(reply.Members) != 2 || reply.Members[1].Host != ready.Hosts[1] {
		t.Errorf("status: %+v", reply)
	}
	if writes := reply.Members[0].Writes + reply.Members[1].Writes; writes != 1 {
		t.Errorf("status counts %d writes, not 1", writes)
	}
	if err := json.Unmarshal([]byte(s.ask("kill 2")), &reply); err != nil || reply.OK || !strings.Contains(reply.Error, "use 0 to 1") {
		t.Errorf("kill 2: %+v, %v", reply, err)
	}
}

func TestReplsetEndsWhenItIsInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	s := serveSet(t, ctx)
	interrupt()
	s.ends(t)
}

func TestTheEndOfTheInputEndsReplsetOnlyWhereThatWasAskedFor(t *testing.T) {
	s := serveSet(t, t.Context(), "--until-eof")
	if answer := s.ask("kill 1"); answer != "ok" {
		t.Errorf("kill: %q", answer)
	}
	s.stdin.Close()
	s.ends(t)

	ctx, interrupt := context.WithCancel(t.Context())
	s = serveSet(t, ctx)
	s.stdin.Close()
	reach(t, s.first)
	interrupt()
	s.ends(t)
}

func TestAReplsetThatIsInterruptedBeforeItIsReadyEndsToo(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var stdout, stderr bytes.Buffer
	if status := run(ctx, []string{"replset"}, nil, &stdout, &stderr); status != exitKept || stderr.Len() > 0 {
		t.Errorf("exit status %d, standard error %q", status, &stderr)
	}
}

func TestReplsetStartsWithAnArbiterAndAHiddenMember(t *testing.T) {
	s := serveSet(t, t.Context(), "--members", "4", "--arbiter", "2", "--hidden", "3", "--initial-sync", "1ms")
	if status := s.ask("status"); !strings.Contains(status, "2=") || !strings.Contains(status, "ARBITER") {
		t.Errorf("the status is %q", status)
	}
	if hosts := options.Client().ApplyURI(s.first).Hosts; len(hosts) != 2 {
		t.Errorf("the URI names %v", hosts)
	}
	for _, args := range [][]string{{"--arbiter", "x"}, {"--initial-sync", "-1s"}} {
		var out, complaint strings.Builder
		if status := runReplset(t.Context(), args, strings.NewReader(""), &out, &complaint); status != exitUsage || !strings.Contains(complaint.String(), args[0][2:]) {
			t.Errorf("%v: status %d, %q", args, status, complaint.String())
		}
	}
}

func TestReplsetStrikesOnlyTheApplicationItIsToldTo(t *testing.T) {
	s := serveSet(t, t.Context(), "--members", "1")
	find := func(app string) error {
		client, err := mongo.Connect(options.Client().ApplyURI(s.first).SetAppName(app).SetRetryReads(false).SetHeartbeatInterval(500 * time.Millisecond).
			SetServerMonitoringMode(options.ServerMonitoringModePoll))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Disconnect(context.Background()) }()
		_, err = client.Database("game").Collection("players").Find(t.Context(), bson.D{})
		return err
	}
	for _, line := range []string{"only game", "cut 0 find before 0"} {
		if answer := s.ask(line); answer != "ok" {
			t.Fatal(answer)
		}
	}
	if err := find("game"); !mongo.IsNetworkError(err) {
		t.Errorf("the application: %v", err)
	}
	if err := find("other"); err != nil {
		t.Errorf("another one: %v", err)
	}
}
