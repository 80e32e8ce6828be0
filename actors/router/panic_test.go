package router

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

func TestAPanicInTheAskersOwnCodeHurtsNobodyElse(t *testing.T) {
	for how, answer := range map[string]func(r *Router, cancel func(error)){
		"at the deadline":       func(*Router, func(error)) { time.Sleep(DefaultReadTimeout) },
		"when it is given up":   func(_ *Router, cancel func(error)) { cancel(errEOF) },
		"when the router stops": func(r *Router, _ func(error)) { r.Stop() },
		"when all hosts refuse": func(r *Router, _ func(error)) {
			r.Join(&fullHouse{desk{name: "a:1", inc: 1}}, request.Member{})
			r.Stop()
		},
		"when a host answers it": func(r *Router, _ func(error)) { r.Join(&quick{desk{name: "a:1", inc: 1}}, request.Member{}) },
	} {
		t.Run(how, func(t *testing.T) {
			inHall(t, func(t *testing.T, r *Router) {
				bombs, replies := 0, make(chan *messages.ReadReply, 10)
				var cancel func(error)
				ask := func() {
					cancel = r.Submit(byID(1), func(*messages.ReadReply) {
						bombs++
						panic("the asker")
					})
				}
				r.Submit(byID(1), func(rep *messages.ReadReply) { replies <- rep })
				ask()
				r.Submit(byID(1), func(rep *messages.ReadReply) { replies <- rep })
				answer(r, cancel)
				time.Sleep(DefaultReadTimeout)
				synctest.Wait()
				if bombs != 1 || len(replies) != 2 || r.Stat().Pending != 0 {
					t.Errorf("%d replies to the one that panics, and %d to two others; %+v", bombs, len(replies), r.Stat())
				}
			})
		})
	}
}

// fullHouse has no room, and quick answers at once.
type (
	fullHouse struct{ desk }
	quick     struct{ desk }
)

func (*fullHouse) Offer(*request.Read, bool) (func(), error) {
	return nil, &messages.OverloadedError{Limit: "HostQueue", Host: "a:1"}
}

func (q *quick) Offer(r *request.Read, _ bool) (func(), error) {
	go func() {
		r.Reply(&messages.ReadReply{})
		q.load.Cancel(r.LoadClass(), time.Now())
	}()
	return nil, nil
}

func TestAPanicOfWhoSubscribesToDeadLettersHurtsNobody(t *testing.T) {
	inHall(t, func(t *testing.T, r *Router) {
		gone := r.system.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {}))
		if err := r.system.Root.StopFuture(gone).Wait(); err != nil {
			t.Fatal(err)
		}
		heard := 0
		r.system.EventStream.Subscribe(func(e any) {
			if dead, ok := e.(*actor.DeadLetterEvent); ok {
				if _, reply := dead.Message.(*messages.ReadReply); reply {
					heard++
					panic("the game's subscriber")
				}
			}
		})
		r.system.Root.RequestWithCustomSender(r.PID(), byID(1), gone)
		time.Sleep(DefaultReadTimeout)
		synctest.Wait()
		if heard != 1 {
			t.Errorf("%d replies", heard)
		}
	})
}

type panickyEncoder struct{}

func (panickyEncoder) Read(*messages.Read) (*command.Read, error) { panic(errEOF) }

func TestAPanicInTheGamesMarshalerIsItsOwnReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		r, err := New(system, Config{Encoder: panickyEncoder{}})
		if err != nil {
			t.Fatal(err)
		}
		got := []error{r.Ask(t.Context(), byID(1)).Err}
		r.Submit(byID(1), func(rep *messages.ReadReply) { got = append(got, rep.Err) })
		rep, err := system.Root.RequestFuture(r.PID(), byID(1), time.Minute).Result()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rep.(*messages.ReadReply).Err)
		for _, err := range got {
			var p *messages.PanicError
			if !errors.As(err, &p) || !errors.Is(err, errEOF) || len(p.Stack) == 0 {
				t.Errorf("got %v", err)
			}
		}
		if st := r.Stat(); len(got) != 3 || st.Pending != 0 || st.Refused != 3 {
			t.Errorf("%d replies; %s", len(got), fmt.Sprintf("%+v", st))
		}
		r.Stop()
		r.Close()
		system.Shutdown()
		time.Sleep(time.Minute)
	})
}
