package app

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

func TestThatThePrimaryIsBackInAMomentIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		p := &primaryTeller{publish: func(e messages.Event) {
			c := e.(messages.PrimaryChanged)
			told = append(told, c.From+">"+c.To)
		}}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
			told = nil
		}
		p.is("")
		p.is("a:1")
		expect(">a:1")
		for range 100 { // Its sockets break.
			p.is("")
			p.is("")
			time.Sleep(primaryLull - 1)
			p.is("a:1")
		}
		time.Sleep(time.Minute)
		expect()
		p.is("")
		if p.known() != "" {
			t.Error("it is known for longer than it is one")
		}
		p.is("b:1") // A step-down.
		expect("a:1>b:1")
		p.is("")
		time.Sleep(primaryLull)
		expect("b:1>")
		p.is("b:1")
		expect(">b:1")
		p.is("")
		p.stop()
		p.is("a:1")
		time.Sleep(time.Minute)
		expect()
	})
}
