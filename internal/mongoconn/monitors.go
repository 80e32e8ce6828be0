package mongoconn

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/event"
)

// The driver takes one monitor of each sort. The embedder's, where there is
// one, is called after ours.

func both[E any](ours, theirs func(E)) func(E) {
	switch {
	case ours == nil:
		return theirs
	case theirs == nil:
		return ours
	}
	return func(e E) {
		ours(e)
		theirs(e)
	}
}

func bothWith[E any](ours, theirs func(context.Context, E)) func(context.Context, E) {
	switch {
	case ours == nil:
		return theirs
	case theirs == nil:
		return ours
	}
	return func(ctx context.Context, e E) {
		ours(ctx, e)
		theirs(ctx, e)
	}
}

func chainServer(ours, theirs *event.ServerMonitor) *event.ServerMonitor {
	if theirs == nil {
		return ours
	}
	return &event.ServerMonitor{
		ServerDescriptionChanged:   both(ours.ServerDescriptionChanged, theirs.ServerDescriptionChanged),
		ServerOpening:              both(ours.ServerOpening, theirs.ServerOpening),
		ServerClosed:               both(ours.ServerClosed, theirs.ServerClosed),
		TopologyDescriptionChanged: both(ours.TopologyDescriptionChanged, theirs.TopologyDescriptionChanged),
		TopologyOpening:            both(ours.TopologyOpening, theirs.TopologyOpening),
		TopologyClosed:             both(ours.TopologyClosed, theirs.TopologyClosed),
		ServerHeartbeatStarted:     both(ours.ServerHeartbeatStarted, theirs.ServerHeartbeatStarted),
		ServerHeartbeatSucceeded:   both(ours.ServerHeartbeatSucceeded, theirs.ServerHeartbeatSucceeded),
		ServerHeartbeatFailed:      both(ours.ServerHeartbeatFailed, theirs.ServerHeartbeatFailed),
	}
}

func chainPool(ours, theirs *event.PoolMonitor) *event.PoolMonitor {
	if theirs == nil {
		return ours
	}
	return &event.PoolMonitor{Event: both(ours.Event, theirs.Event)}
}

func chainCommand(ours, theirs *event.CommandMonitor) *event.CommandMonitor {
	if theirs == nil {
		return ours
	}
	return &event.CommandMonitor{
		Started:   bothWith(ours.Started, theirs.Started),
		Succeeded: bothWith(ours.Succeeded, theirs.Succeeded),
		Failed:    bothWith(ours.Failed, theirs.Failed),
	}
}
