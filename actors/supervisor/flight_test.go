package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

func TestTheRecorderHoldsTheLastTransitions(t *testing.T) {
	var r Recorder
	if got := r.Recent(); len(got) != 0 {
		t.Errorf("a new one holds %v", got)
	}
	for i := range RecorderSize + 10 {
		r.Note("a:1", fmt.Sprint(i))
		if got := r.Recent(); len(got) != min(i+1, RecorderSize) || got[len(got)-1].What != fmt.Sprint(i) || got[0].What != fmt.Sprint(max(0, i+1-RecorderSize)) {
			t.Fatalf("after %d it holds %v", i+1, got)
		}
	}
	before := r.Recent()
	first := before[0].What
	r.Note("b:1", "later")
	if before[0].What != first || len(before) != RecorderSize {
		t.Error("what was returned before has changed")
	}
}

func TestWhatAHostDoesAgainAndAgainIsOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Recorder
		r.Note("a:1", "lost: the cause")
		start := time.Now()
		for range 1000 {
			r.Note("a:1", "dialed")
			r.Note("b:1", "dialed")
			r.Note("a:1", "refused")
			time.Sleep(time.Second)
		}
		r.Note("a:1", "live")
		got := r.Recent()
		if len(got) != 5 || got[0].What != "lost: the cause" || got[4].What != "live" {
			t.Fatalf("recorded %v", got)
		}
		for _, tr := range got[1:4] {
			if tr.Again != 999 || !tr.Time.Equal(start) || !tr.Last.Equal(start.Add(999*time.Second)) || !strings.Contains(tr.String(), "999 more times") {
				t.Errorf("recorded %v", tr)
			}
		}
		// What is as old as four others of the host's happens anew.
		for i := range 4 {
			r.Note("a:1", fmt.Sprint(i))
		}
		if r.Note("a:1", "live"); len(r.Recent()) != 10 {
			t.Errorf("recorded %v", r.Recent())
		}
	})
}

func TestEveryEventIsRecorded(t *testing.T) {
	h := NewHub(1)
	h.Publish(messages.HostDialing{Header: messages.Header{Host: "a:1"}})
	h.Publish(messages.Stopped{})
	got := h.Recent()
	if len(got) != 2 || got[0].Host != "a:1" || got[0].What != "HostDialing: a:1 is being dialled" || got[1].What != "Stopped: stopped" {
		t.Errorf("recorded %v", got)
	}
}
