package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// faultless is the evidence of a demo that kept every promise.
func faultless() evidence {
	told := func(outcomes ...messages.Outcome) []save {
		var saves []save
		for i, o := range outcomes {
			saves = append(saves, save{number: int64(i) + 1, answered: true, outcome: o})
		}
		return saves
	}
	return evidence{
		length: 30 * time.Second, reads: 1000, builtIn: true,
		saves: map[string][]save{
			"a": told(messages.Applied, messages.Applied, messages.Applied),
			"b": told(messages.Applied, messages.NotApplied, messages.Unknown, messages.Unknown, messages.Applied),
		},
		stored: map[string]player{
			"a": {ID: "a", Saves: []int64{1, 2, 3}},
			"b": {ID: "b", Saves: []int64{1, 4, 5}},
			"c": {ID: "c", Saves: []int64{}},
		},
		returns: []homecoming{
			{cause: causeStranger, host: "h1", took: 5 * time.Second, restored: true},
			{cause: causeMaintenance, host: "h2", took: 300 * time.Millisecond, restored: true},
			{cause: causeFreeze, host: "h3", took: 2 * time.Second},
		},
	}
}

func TestADemoThatKeptEveryPromiseIsSaidToHaveKeptThem(t *testing.T) {
	v := judge(faultless())
	if !v.OK || len(v.Broken) > 0 {
		t.Fatalf("broken: %v, %s", v.Broken, v.Error)
	}
	if v.Saves != 5 || v.RefusedSaves != 1 || v.UnknownSaves != 2 || *v.ShareRestoredMS != 300 {
		t.Errorf("%+v", v)
	}
	for _, p := range v.promises {
		if !p.kept || p.unjudged {
			t.Errorf("%+v", p)
		}
	}
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	for _, c := range []struct {
		fault  string
		spoil  func(*evidence)
		broken []string
		count  func(verdict) int64
		want   int64
	}{
		{"a member executed reads for another's address", func(e *evidence) { e.astray.reads = 2 },
			[]string{"wrong_host_reads"}, func(v verdict) int64 { return *v.WrongHostReads }, 2},
		{"a read was answered with a stranger's document", func(e *evidence) { e.wrongDocuments = 1 },
			[]string{"wrong_host_reads"}, func(v verdict) int64 { return *v.WrongHostReads }, 1},
		{"the same reads were seen by both", func(e *evidence) { e.wrongDocuments, e.astray.reads = 2, 3 },
			[]string{"wrong_host_reads"}, func(v verdict) int64 { return *v.WrongHostReads }, 3},
		{"a stranger's document on a set that does not count", func(e *evidence) { e.builtIn, e.wrongDocuments = false, 1 },
			[]string{"wrong_host_reads"}, func(v verdict) int64 { return *v.WrongHostReads }, 1},
		{"a member executed a write for another's address", func(e *evidence) { e.astray.writes = 1 },
			[]string{"wrong_host_writes"}, func(v verdict) int64 { return *v.WrongHostWrites }, 1},
		{"an acknowledged save is not there", func(e *evidence) { e.stored["a"] = player{Saves: []int64{1, 3}} },
			[]string{"lost_saves"}, func(v verdict) int64 { return v.LostSaves }, 1},
		{"a player is not there", func(e *evidence) { delete(e.stored, "a") },
			[]string{"lost_saves"}, func(v verdict) int64 { return v.LostSaves }, 3},
		{"nothing is there", func(e *evidence) { e.stored = nil },
			[]string{"lost_saves"}, func(v verdict) int64 { return v.LostSaves }, 5},
		{"a save happened twice", func(e *evidence) { e.stored["a"] = player{Saves: []int64{1, 2, 2, 3}} },
			[]string{"duplicate_saves"}, func(v verdict) int64 { return v.DuplicateSaves }, 1},
		{"a save happened three times, late", func(e *evidence) { e.stored["a"] = player{Saves: []int64{1, 2, 3, 1, 1}} },
			[]string{"duplicate_saves"}, func(v verdict) int64 { return v.DuplicateSaves }, 2},
		{"a save overtook another", func(e *evidence) { e.stored["a"] = player{Saves: []int64{2, 1, 3}} },
			[]string{"order_violations"}, func(v verdict) int64 { return v.OrderViolations }, 1},
		{"a save overtook two others", func(e *evidence) { e.stored["a"] = player{Saves: []int64{3, 1, 2}} },
			[]string{"order_violations"}, func(v verdict) int64 { return v.OrderViolations }, 2},
		{"a refused save is there", func(e *evidence) { e.stored["b"] = player{Saves: []int64{1, 2, 5}} },
			[]string{"untrue_replies"}, func(v verdict) int64 { return v.UntrueReplies }, 1},
		{"a save is there that nobody has sent", func(e *evidence) { e.stored["a"] = player{Saves: []int64{1, 2, 3, 9}} },
			[]string{"untrue_replies"}, func(v verdict) int64 { return v.UntrueReplies }, 1},
		{"a player has saves that never saved", func(e *evidence) { e.stored["c"] = player{Saves: []int64{1}} },
			[]string{"untrue_replies"}, func(v verdict) int64 { return v.UntrueReplies }, 1},
		{"a save was never answered", func(e *evidence) { e.saves["a"][2].answered = false },
			[]string{"unanswered"}, func(v verdict) int64 { return v.Unanswered }, 1},
		{"reads were never answered", func(e *evidence) { e.unansweredReads = 3 },
			[]string{"unanswered"}, func(v verdict) int64 { return v.Unanswered }, 3},
		{"a read was answered twice", func(e *evidence) { e.strayReplies = 1 },
			[]string{"stray_replies"}, func(v verdict) int64 { return v.StrayReplies }, 1},
		{"a read failed", func(e *evidence) { e.failedReads, e.lastReadError = 1, errors.New("no live host") },
			[]string{"failed_reads"}, func(v verdict) int64 { return v.FailedReads }, 1},
		{"a returned secondary took too long", func(e *evidence) { e.returns[1].took = 1001 * time.Millisecond },
			[]string{"share_restored_ms"}, func(v verdict) int64 { return *v.ShareRestoredMS }, 1001},
		{"a returned secondary never got its share", func(e *evidence) { e.returns[1].took, e.returns[1].restored = 20*time.Second, false },
			[]string{"share_restored_ms"}, func(v verdict) int64 { return *v.ShareRestoredMS }, 20000},
		{"a host did not come back", func(e *evidence) { e.out = []string{"h1"} },
			[]string{"hosts_out"}, func(v verdict) int64 { return int64(len(v.HostsOut)) }, 1},
	} {
		e := faultless()
		c.spoil(&e)
		v := judge(e)
		if v.OK || !slices.Equal(v.Broken, c.broken) {
			t.Errorf("%s: ok is %v, broken %v; want %v", c.fault, v.OK, v.Broken, c.broken)
		}
		if got := c.count(v); got != c.want {
			t.Errorf("%s: counted %d, not %d", c.fault, got, c.want)
		}
		if text := strings.Join(verdictLines(v), "\n"); strings.Count(text, "BROKEN") != 1 || strings.Contains(text, "Every promise") {
			t.Errorf("%s: the text does not say it once:\n%s", c.fault, text)
		}
	}
}

func TestADemoThatCouldNotBeJudgedIsNotOK(t *testing.T) {
	e := faultless()
	e.trouble = errors.New("reading the players back: no primary")
	if v := judge(e); v.OK || v.Error == "" || !strings.Contains(strings.Join(verdictLines(v), "\n"), "no primary") {
		t.Errorf("%+v", v)
	}
}

func TestWhatWasNotMeasuredIsNotJudged(t *testing.T) {
	e := evidence{length: time.Second, interrupted: true, reads: 5, out: []string{"h1"},
		returns: []homecoming{{cause: causeMaintenance, host: "h2", took: 100 * time.Millisecond}}}
	v := judge(e)
	if !v.OK || v.ShareRestoredMS != nil || v.WrongHostReads != nil || len(v.HostsOut) != 1 {
		t.Errorf("%+v", v)
	}
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"type":"verdict"`, `"ok":true`, `"wrong_host_reads":null`, `"share_restored_ms":null`, `"interrupted":true`, `"broken":[]`} {
		if !strings.Contains(string(line), want) {
			t.Errorf("%s does not contain %s", line, want)
		}
	}
}
