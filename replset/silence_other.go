//go:build !linux

package replset

// silence is none here: new connections are accepted, and nothing follows.
type silence struct{}

func silenced(*listener) (*silence, error) { return &silence{}, nil }

func (s *silence) end() ([]int, error) { return nil, nil }
