package main

import (
	"slices"
	"testing"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

func at(host string) messages.Header { return messages.Header{Host: host} }

func TestTheBoardFollowsAHostThroughItsEvents(t *testing.T) {
	b := newBoard()
	for _, step := range []struct {
		event messages.Event
		state string
		role  messages.Role
	}{
		{messages.HostDialing{Header: at("a")}, stateDialing, messages.RoleUnknown},
		{messages.HostLive{Header: at("a"), Role: messages.RoleSecondary}, stateLive, messages.RoleSecondary},
		{messages.RoleChanged{Header: at("a"), To: messages.RolePrimary}, stateLive, messages.RolePrimary},
		{messages.HostEjected{Header: at("a"), Floor: true}, stateLive, messages.RolePrimary},
		{messages.HostEjected{Header: at("a")}, stateEjected, messages.RolePrimary},
		{messages.HostRestored{Header: at("a")}, stateLive, messages.RolePrimary},
		{messages.HostStandby{Header: at("a")}, stateStandby, messages.RoleOther},
		{messages.HostLost{Header: at("a")}, stateLost, messages.RoleUnknown},
		{messages.HostRestarting{Header: at("a")}, stateLost, messages.RoleUnknown},
		{messages.HostDialing{Header: at("a")}, stateLost, messages.RoleUnknown},
		{messages.WrongHost{Header: at("a")}, stateWrongHost, messages.RoleUnknown},
		{messages.HostDialing{Header: at("a")}, stateWrongHost, messages.RoleUnknown},
		{messages.DuplicateHost{Header: at("a")}, stateDuplicate, messages.RoleOther},
		{messages.PrimaryChanged{To: "a"}, stateDuplicate, messages.RoleOther},
	} {
		b.apply(step.event)
		if h := b.hosts["a"]; h.state != step.state || h.role != step.role || !slices.Equal(b.order, []string{"a"}) {
			t.Errorf("after %s: %+v, order %v; want %s, %s", step.event.Kind(), *h, b.order, step.state, step.role)
		}
	}
	b.apply(messages.MemberRemoved{Header: at("a")})
	if len(b.order) > 0 || len(b.out()) > 0 {
		t.Errorf("a removed member is still on the board: %v", b.order)
	}
}

func TestTheLiveSecondariesShareTheReadsAndElseThePrimary(t *testing.T) {
	b := newBoard()
	b.apply(messages.HostLive{Header: at("a"), Role: messages.RolePrimary})
	if n := b.serving(); n != 1 {
		t.Errorf("a lone primary makes %d serving hosts", n)
	}
	b.apply(messages.HostLive{Header: at("b"), Role: messages.RoleSecondary})
	b.apply(messages.HostLive{Header: at("c"), Role: messages.RoleSecondary})
	b.apply(messages.HostStandby{Header: at("d")})
	if n := b.serving(); n != 2 {
		t.Errorf("two live secondaries make %d serving hosts", n)
	}
	if out := b.out(); !slices.Equal(out, []string{"d"}) {
		t.Errorf("out: %v", out)
	}
}

func TestAHostIsRestoredWhenItHasNineTenthsOfAnEvenShare(t *testing.T) {
	began := time.Now()
	r := &returns{}
	now := began
	look := func(a, b int64) homecoming {
		now = now.Add(sliceEvery)
		r.look(map[string]int64{"a": a, "b": b}, 2, now)
		return r.all[0]
	}
	r.came(causeMaintenance, "a", began)
	for i := range 30 {
		if h := look(8, 10); h.restored { // 44 % of what both answer: 89 % of a half.
			t.Fatalf("restored after %d slices without its share", i+1)
		}
	}
	if h := r.all[0]; h.took != 30*sliceEvery {
		t.Errorf("it has waited for %v, not %v", h.took, 30*sliceEvery)
	}
	slices := 0
	for !look(10, 10).restored {
		if slices++; slices > shareWindow {
			t.Fatal("never restored with an even share")
		}
	}
	took := r.all[0].took
	if look(0, 10); !r.all[0].restored || r.all[0].took != took {
		t.Errorf("what came afterwards changed the return to %+v", r.all[0])
	}
}

func TestATimeInWhichTheProcessHadNoProcessorIsNotWaitedFor(t *testing.T) {
	r := &returns{}
	now := time.Now()
	look := func(after time.Duration, reads int64) time.Duration {
		now = now.Add(after)
		r.look(map[string]int64{"a": 0, "b": reads}, 2, now)
		return r.all[0].took
	}
	r.look(nil, 2, now)
	r.came(causeMaintenance, "a", now.Add(sliceEvery/2))
	if took := look(sliceEvery, 10); took != sliceEvery/2 {
		t.Errorf("%v", took)
	}
	if took := look(2*sliceEvery, 0); took != 5*sliceEvery/2 {
		t.Errorf("a look that is a little late: %v", took)
	}
	if took := look(time.Minute, 10); took != 9*sliceEvery/2 {
		t.Errorf("a minute without reads: %v", took)
	}
	if took := look(10*sliceEvery, 1000); took != 29*sliceEvery/2 {
		t.Errorf("a late look, and as many reads as ever: %v", took)
	}
	r.came(causeMaintenance, "b", now.Add(time.Minute-sliceEvery))
	if look(time.Minute, 10); r.all[1].took != 0 {
		t.Errorf("who came within a minute without reads: %v", r.all[1].took)
	}
	r.came(causeMaintenance, "c", now.Add(time.Minute))
	if look(sliceEvery, 10); r.all[2].took != 0 {
		t.Errorf("who is told of before the look: %v", r.all[2].took)
	}
}

func TestAFewReadsRestoreNobody(t *testing.T) {
	r := &returns{}
	r.came(causeMaintenance, "a", time.Now())
	for range 3 * shareWindow {
		r.look(map[string]int64{"a": 1}, 1, time.Now())
	}
	if r.all[0].restored {
		t.Error("10 reads in 200 ms were taken for a share")
	}
}

func TestTheMeterKeepsEachSecondAndEachSliceApart(t *testing.T) {
	m := newMeter()
	for i := range 100 {
		m.read("a", time.Duration(i+1)*time.Millisecond)
	}
	m.read("b", time.Hour) // Beyond what the histogram holds.
	m.save(2 * time.Millisecond)
	m.readFailed(messages.ErrNoLiveHost)
	if s := m.slice(); s["a"] != 100 || s["b"] != 1 {
		t.Errorf("slice %v", s)
	}
	if s := m.slice(); s["a"] != 0 || s["b"] != 0 {
		t.Errorf("the next slice is %v", s)
	}
	s := m.second()
	near := func(got, want time.Duration) bool { return got >= want && got <= want+want/500 }
	if a := s.hosts["a"]; a.count != 100 || !near(a.p50, 50*time.Millisecond) || !near(a.p99, 99*time.Millisecond) {
		t.Errorf("a: %+v", a)
	}
	if b := s.hosts["b"]; b.count != 1 || b.p99 < time.Duration(highestMicros)*time.Microsecond {
		t.Errorf("b: %+v", b)
	}
	if s.reads.count != 101 || s.saves.count != 1 || s.failed != 1 {
		t.Errorf("%+v", s)
	}
	if s := m.second(); s.reads.count != 0 || s.hosts["a"].count != 0 || s.saves.count != 0 || s.failed != 1 {
		t.Errorf("the next second has %+v", s)
	}
}

func TestTheLedgerTakesOneAnswerForEachSave(t *testing.T) {
	l := newLedger()
	if a, b := l.sent("a"), l.sent("a"); a != 1 || b != 2 {
		t.Errorf("numbers %d and %d", a, b)
	}
	if !l.answered("a", 2, messages.Applied) {
		t.Error("an answer was refused")
	}
	for _, n := range []int64{0, 2, 3} {
		if l.answered("a", n, messages.NotApplied) {
			t.Errorf("a stray answer to %d was taken", n)
		}
	}
	got := l.all()["a"]
	if len(got) != 2 || got[0].answered || !got[1].answered || got[1].outcome != messages.Applied {
		t.Errorf("%+v", got)
	}
}
