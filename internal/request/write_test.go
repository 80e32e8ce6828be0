package request

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

func TestAWriteConcernThatIsChangedAfterwardsStaysAsItWas(t *testing.T) {
	journal := true
	wc := &writeconcern.WriteConcern{W: 2, Journal: &journal}
	w := NewWrite(&messages.Write{WriteConcern: wc}, &command.Write{}, time.Now(), time.Now(), nil, func(*messages.WriteReply) {})
	wc.W, journal = 0, false
	if got := w.WriteConcern; got.W != 2 || got.Journal == nil || !*got.Journal {
		t.Errorf("it is now %+v", got)
	}
	if w := NewWrite(&messages.Write{}, &command.Write{}, time.Now(), time.Now(), nil, nil); w.WriteConcern != nil {
		t.Errorf("from none came %+v", w.WriteConcern)
	}
}
