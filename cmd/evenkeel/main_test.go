package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/app"
)

// TestMain makes the test's program the command itself when it is called with one: bench
// starts the program that it is once more, as the server.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "replset" || os.Args[1] == "bench") {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

func TestCallsThatCanNeverWorkSayWhatToWrite(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "Usage:"},
		{[]string{"bake"}, `no command "bake"`},
		{[]string{"demo", "--seconds", "5"}, "use 6 or more"},
		{[]string{"demo", "--seconds", "0"}, "use 6 or more"},
		{[]string{"demo", "--seconds", "90000"}, "more than a day"},
		{[]string{"demo", "--seconds", "ten"}, "seconds"},
		{[]string{"demo", "--uri", "mongodb://h/", "--seconds", "-1"}, "negative"},
		{[]string{"demo", "--uri", ""}, "leave it away"},
		{[]string{"demo", "--readers", "0"}, "--readers 0"},
		{[]string{"demo", "--writers", "-1"}, "--writers -1"},
		{[]string{"demo", "--policy", "fair"}, "adaptive, roundRobin, leastPending, random"},
		{[]string{"demo", "now"}, `unexpected argument "now"`},
		{[]string{"demo", "--loud"}, "loud"},
		{[]string{"replset", "--members", "8"}, "--members 8 must be 1 to 7"},
		{[]string{"replset", "--members", "0"}, "--members 0 must be"},
		{[]string{"replset", "--name", ""}, "--name is empty"},
		{[]string{"replset", "--tls", "yes"}, "off, on, mutual"},
		{[]string{"replset", "--user", "ann"}, "write name:password"},
		{[]string{"replset", "--user", ":x"}, "write name:password"},
		{[]string{"replset", "--election-timeout", "1ms"}, "use 10ms or more"},
		{[]string{"replset", "--server-version", "7"}, "4.4, 5.0, 6.0, 7.0, 8.0"},
		{[]string{"replset", "now"}, `unexpected argument "now"`},
		{[]string{"bench", "--only", "teapot"}, `no row "teapot"; --list names them`},
		{[]string{"bench", "--only", ","}, "--only is empty"},
		{[]string{"bench", "--rounds", "0"}, "--rounds 0 must be 1 or more"},
		{[]string{"bench", "--seconds", "0"}, "too short"},
		{[]string{"bench", "--seconds", "-1"}, "too short"},
		{[]string{"bench", "--rate", "0"}, "--rate 0"},
		{[]string{"bench", "--w", "3"}, "1, majority"},
		{[]string{"bench", "--members", "2"}, "--members 2 must be 3 to 7"},
		{[]string{"bench", "--server-version", "7"}, "4.4, 5.0, 6.0, 7.0, 8.0"},
		{[]string{"bench", "--uri", ""}, "leave it away"},
		{[]string{"bench", "--uri", "mongodb://h/", "--members", "4"}, "are for the built-in set"},
		{[]string{"bench", "--driver-pool", "0"}, "--driver-pool 0"},
		{[]string{"bench", "--driver-heartbeat", "1ms"}, "500ms"},
		{[]string{"bench", "now"}, `unexpected argument "now"`},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), c.args, nil, &stdout, &stderr); status != exitUsage {
			t.Errorf("%q: exit status %d, not %d", c.args, status, exitUsage)
		}
		if !strings.Contains(stderr.String(), c.says) || stdout.Len() > 0 {
			t.Errorf("%q: standard error does not say %q, or standard output is not empty:\n%s%s", c.args, c.says, &stderr, &stdout)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"demo", "--help"}, {"demo", "-h"}, {"replset", "-h"}, {"bench", "-h"}} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, nil, &stdout, &stderr); status != exitKept || stderr.Len() > 0 {
			t.Errorf("%q: exit status %d, standard error %q", args, status, &stderr)
		}
		if !strings.Contains(stdout.String(), "Usage:") {
			t.Errorf("%q: %q", args, &stdout)
		}
	}
}

func TestTheFlagsOfDemoAreRead(t *testing.T) {
	var none bytes.Buffer
	for _, c := range []struct {
		args string
		want settings
	}{
		{"", settings{length: 30 * time.Second, readers: 64, writers: 4}},
		{"--seconds 8 --readers 3 --writers 0 --json --policy round-robin",
			settings{length: 8 * time.Second, readers: 3, policy: app.RoundRobin, json: true}},
		{"--uri mongodb://h/ --seconds 0", settings{uri: "mongodb://h/", readers: 64}},
		{"-uri=mongodb://h/ -seconds=1 -writers=2 -policy=LEASTPENDING",
			settings{uri: "mongodb://h/", length: time.Second, readers: 64, writers: 2, policy: app.LeastPending}},
	} {
		got, err := parseSettings(strings.Fields(c.args), &none, &none)
		if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v; want %+v", c.args, got, err, c.want)
		}
	}
}

func TestAURIThatCanNeverWorkEndsTheDemoBeforeItBegins(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := run(context.Background(), []string{"demo", "--uri", "postgres://h/"}, nil, &stdout, &stderr)
	if status != exitBroken || !strings.Contains(stderr.String(), "URI") || stdout.Len() > 0 {
		t.Errorf("exit status %d, standard error %q, standard output %q", status, &stderr, &stdout)
	}
}
