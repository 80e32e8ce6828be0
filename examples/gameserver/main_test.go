package main

import (
	"context"
	"testing"
	"time"
)

func TestPlayersAreStoredAsTheyWerePastTheDeathOfThePrimary(t *testing.T) {
	if err := run(context.Background(), "", 20, 3*time.Second, false); err != nil {
		t.Fatal(err)
	}
}

func TestASignalStopsTheServerWithoutLoss(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := run(ctx, "", 20, time.Minute, false); err != nil {
		t.Fatal(err)
	}
}
