package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evenkeel/evenkeel/messages"
)

func sample(state string) table {
	return table{at: 3 * time.Second, length: 30 * time.Second, reads: rate{count: 90}, rows: []row{
		{host: "127.0.0.1:27017", state: state, role: "secondary", reads: rate{count: 90, p50: 250 * time.Microsecond, p99: 3 * time.Millisecond}, share: 1},
		{host: "127.0.0.1:27018", state: "lost", role: "unknown"},
	}}
}

func TestATableSaysWhatEachHostDoes(t *testing.T) {
	text := strings.Join(tableLines(sample("live")), "\n")
	for _, want := range []string{"3 of 30 s: 90 reads/s", "127.0.0.1:27017  live       secondary        90  100.0%   0.25ms   3.00ms", "lost       unknown           0    0.0%        -        -"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table does not say %q:\n%s", want, text)
		}
	}
}

func TestOnAScreenTheTableIsReplacedAndEventsStay(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, width: func() int { return 60 }}
	s.second(sample("live"))
	if strings.Contains(out.String(), "\x1b[") {
		t.Errorf("the first table moves the cursor: %q", &out)
	}
	out.Reset()
	s.event(time.Second, messages.HostLost{Header: at("127.0.0.1:27017"), Reason: "gone"})
	up := "\x1b[4A\x1b[J"
	if got := out.String(); !strings.HasPrefix(got, up) || !strings.Contains(got, "is lost: gone\n--- 3 of 30 s") {
		t.Errorf("the event is not above the old table: %q", got)
	}
	out.Reset()
	s.second(sample("lost"))
	if got := out.String(); !strings.HasPrefix(got, up) || strings.Contains(got, "gone") {
		t.Errorf("the table is not replaced, or the event with it: %q", got)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if n := utf8.RuneCountInString(strings.TrimPrefix(line, up)); n > 59 {
			t.Errorf("a line of %d columns wraps on 60: %q", n, line)
		}
	}
	out.Reset()
	s.verdict(judge(faultless()))
	if got := out.String(); strings.Contains(got, "\x1b[") || !strings.Contains(got, "Every promise was kept.") {
		t.Errorf("the verdict does not stand below the last table: %q", got)
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	if _, ok := terminal(&bytes.Buffer{}); ok {
		t.Error("a buffer was taken for a terminal")
	}
}
