package repl

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestASequenceKeepsTheOrderOfItsNumbersAndItsCopiesStayAsTheyWere(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type pair struct {
		got  sequence[int]
		want map[uint64]int
	}
	var kept []pair
	now := pair{want: map[uint64]int{}}
	e := new(edit)
	for i := range 20_000 {
		at := uint64(r.IntN(3000))
		if r.IntN(100) == 0 {
			at = r.Uint64()
		}
		if r.IntN(3) == 0 {
			now.got.delete(e, at)
			delete(now.want, at)
		} else {
			now.got.set(e, at, i)
			now.want[at] = i
		}
		if r.IntN(500) == 0 {
			kept = append(kept, pair{now.got, maps.Clone(now.want)})
			e = new(edit)
		}
	}
	for _, p := range append(kept, now) {
		var order []uint64
		got := map[uint64]int{}
		for at, v := range p.got.all() {
			order = append(order, at)
			got[at] = v
		}
		if !maps.Equal(got, p.want) || p.got.n != len(p.want) {
			t.Fatalf("%d of %d values are there", len(got), len(p.want))
		}
		if !slices.IsSorted(order) {
			t.Fatal("the numbers are out of order")
		}
		for at, want := range p.want {
			if v, ok := p.got.get(at); !ok || v != want {
				t.Fatalf("%d is %d, %v; want %d", at, v, ok, want)
			}
		}
	}
	for at := range now.want {
		now.got.delete(e, at)
	}
	if now.got.n != 0 || now.got.root != nil {
		t.Error("an emptied sequence is not empty")
	}
	now.got.set(e, 3, 1)
	if v, ok := now.got.get(3); !ok || v != 1 {
		t.Error("an emptied sequence cannot be filled again")
	}
}
