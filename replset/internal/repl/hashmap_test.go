package repl

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestAMapIsWhatWasSetAndItsCopiesStayAsTheyWere makes random changes to a hashMap
// and to a Go map, and keeps copies of both.
func TestAMapIsWhatWasSetAndItsCopiesStayAsTheyWere(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type pair struct {
		got  hashMap[int]
		want map[string]int
	}
	var kept []pair
	now := pair{want: map[string]int{}}
	e := new(edit)
	for i := range 20_000 {
		key := fmt.Sprint(r.IntN(1500))
		if r.IntN(3) == 0 {
			_, there := now.want[key]
			if now.got.delete(e, key) != there {
				t.Fatalf("delete of %s does not say that it was there: %v", key, there)
			}
			delete(now.want, key)
		} else {
			now.got.set(e, key, i)
			now.want[key] = i
		}
		if r.IntN(500) == 0 {
			kept = append(kept, pair{now.got, maps.Clone(now.want)})
			e = new(edit)
		}
	}
	for _, p := range append(kept, now) {
		if p.got.n != len(p.want) {
			t.Fatalf("%d keys of %d", p.got.n, len(p.want))
		}
		if got := maps.Collect(p.got.all()); !maps.Equal(got, p.want) {
			t.Fatalf("got %v, want %v", got, p.want)
		}
		for key, want := range p.want {
			if got, ok := p.got.get(key); !ok || got != want {
				t.Fatalf("%s is %d, %v; want %d", key, got, ok, want)
			}
		}
		if _, ok := p.got.get("none"); ok {
			t.Fatal("a key that was never set is there")
		}
	}
	for key := range maps.Clone(now.want) {
		now.got.delete(e, key)
	}
	if now.got.root != nil || now.got.n != 0 {
		t.Errorf("an emptied map has %d keys and a root %v", now.got.n, now.got.root)
	}
}

// TestKeysWhoseHashesCollideAreToldApart goes below the last bit of the hash,
// where real keys do not meet in a test's lifetime.
func TestKeysWhoseHashesCollideAreToldApart(t *testing.T) {
	e := new(edit)
	var root *hashNode[int]
	for i := range 5 {
		root, _ = root.set(e, &hashLeaf[int]{hash: 7, key: fmt.Sprint(i), val: i}, 0)
	}
	root, added := root.set(e, &hashLeaf[int]{hash: 7, key: "3", val: 33}, 0)
	if added {
		t.Error("a key that was there counts as new")
	}
	before := hashMap[int]{root: root}
	e = new(edit)
	for i := range 4 {
		root = root.delete(e, 7, fmt.Sprint(i), 0)
	}
	if n := len(maps.Collect(hashMap[int]{root: root}.all())); n != 1 || len(root.leaves) != 1 {
		t.Errorf("%d keys are left, %d of them at the root; want the one", n, len(root.leaves))
	}
	if got := maps.Collect(before.all()); len(got) != 5 || got["3"] != 33 {
		t.Errorf("the copy has become %v", got)
	}
}

// BenchmarkSetInBatches adds keys to a map of 100,000, in writes of 64.
func BenchmarkSetInBatches(b *testing.B) {
	var large hashMap[uint64]
	e := new(edit)
	for i := range 100_000 {
		large.set(e, fmt.Sprint(i), 0)
	}
	keys := make([]string, 1<<14)
	for i := range keys {
		keys[i] = fmt.Sprint("new", i)
	}
	b.ReportAllocs()
	var m hashMap[uint64]
	for i := 0; b.Loop(); i++ {
		if i%len(keys) == 0 {
			m = large
		}
		if i%64 == 0 {
			e = new(edit)
		}
		m.set(e, keys[i%len(keys)], 0)
	}
}
