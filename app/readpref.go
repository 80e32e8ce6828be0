package app

import (
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/evenkeel/evenkeel/messages"
)

// preference is what a read preference of the driver's means here.
type preference struct {
	from   messages.From
	tags   []messages.TagSet
	maxLag time.Duration // 0 for none
}

func preferenceOf(rp *readpref.ReadPref) preference {
	var p preference
	if rp == nil {
		return p
	}
	switch rp.Mode() {
	case readpref.PrimaryMode:
		p.from = messages.FromPrimary
	case readpref.PrimaryPreferredMode:
		p.from = messages.FromPrimaryPreferred
	case readpref.SecondaryMode:
		p.from = messages.FromSecondariesOnly
	case readpref.SecondaryPreferredMode:
		p.from = messages.FromSecondaries
	case readpref.NearestMode:
		p.from = messages.FromAll
	}
	for _, set := range rp.TagSets() {
		tags := messages.TagSet{}
		for _, t := range set {
			tags[t.Name] = t.Value
		}
		p.tags = append(p.tags, tags)
	}
	p.maxLag, _ = rp.MaxStaleness()
	return p
}

// adopt takes the URI's read preference where the Config says nothing.
func (c *Config) adopt(rp *readpref.ReadPref) error {
	p := preferenceOf(rp)
	if c.From == messages.FromDefault {
		c.From = p.from
	}
	if c.Tags == nil {
		c.Tags = p.tags
	}
	if c.MaxLag == 0 {
		c.MaxLag = p.maxLag
	}
	if len(c.Tags) > 0 && c.From == messages.FromPrimary {
		return &ConfigError{"Tags", "there are tag sets, and reads go to the primary alone; use another From, or no tags"}
	}
	return nil
}

// handlePreference is what an option of one handle means.
func handlePreference(field string, rp *readpref.ReadPref) (preference, error) {
	p := preferenceOf(rp)
	if p.tags == nil {
		p.tags = []messages.TagSet{} // Not the app's.
	}
	if p.maxLag != 0 {
		return p, &messages.InvalidError{Field: field, Err: errors.New("maxStaleness is one for the whole app; use Config.MaxLag")}
	}
	return p, nil
}
