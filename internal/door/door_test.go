package door

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/messages"
)

func TestWhoseFirstMessageComesAfterCloseIsHeardToo(t *testing.T) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
	defer system.Shutdown()
	heard := 0
	d := Open(system, "test-", func(any, *actor.PID) bool { heard++; return true })
	if heard != 0 {
		t.Error("something was received before anybody has sent anything")
	}
	d.Close()
	system.Root.Send(d.PID(), "hello")
	if heard != 1 {
		t.Errorf("%d messages were received", heard)
	}
}

func TestWhatBelongsElsewhereIsAnsweredWithWhatToDo(t *testing.T) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
	defer system.Shutdown()
	d := Open(system, "test-", func(any, *actor.PID) bool { return false })
	defer d.Close()
	for want, message := range map[string]any{
		"App.Router()":    &messages.Read{Correlation: 7},
		"*messages.Read":  messages.Read{Correlation: 7},
		"App.Master()":    &messages.Write{Correlation: 7},
		"*messages.Write": messages.Write{Correlation: 7},
	} {
		got, err := system.Root.RequestFuture(d.PID(), message, time.Minute).Result()
		var correlation any
		switch rep := got.(type) {
		case *messages.ReadReply:
			err, correlation = rep.Err, rep.Correlation
		case *messages.WriteReply:
			err, correlation = rep.Err, rep.Correlation
			if rep.Outcome != messages.NotApplied {
				t.Errorf("%T: the outcome is %v", message, rep.Outcome)
			}
		}
		if !errors.Is(err, messages.ErrInvalid) || !strings.Contains(err.Error(), want) || correlation != 7 {
			t.Errorf("%T: got %+v, %v", message, got, err)
		}
	}
	if _, err := system.Root.RequestFuture(d.PID(), "hello", time.Minute).Result(); !errors.Is(err, actor.ErrDeadLetter) {
		t.Errorf("something else: %v", err)
	}
	system.Root.Send(d.PID(), messages.Write{}) // Nobody to answer.
}
