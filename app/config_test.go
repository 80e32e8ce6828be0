package app

import (
	"errors"
	"testing"
	"time"
)

func TestAConfigThatCanNeverWorkIsRefusedByTheNameOfItsField(t *testing.T) {
	for want, c := range map[string]Config{
		"WriteLanes":     {WriteLanes: 1e9},
		"PointWorkers":   {PointWorkers: MaxWorkers + 1},
		"OtherWorkers":   {OtherWorkers: 1e9},
		"ReadTimeout":    {ReadTimeout: 5},
		"WriteTimeout":   {WriteTimeout: 10},
		"HungAfter":      {HungAfter: 250},
		"ConnectTimeout": {ConnectTimeout: 1},
		"MaxLag":         {MaxLag: 2},
		"Heartbeat":      {Heartbeat: time.Millisecond},
		"HedgeShare":     {HedgeShare: 2},
		"URI":            {URI: "mongodb://127.0.0.1:1/?readPrefrence=primary"},
	} {
		if want != "URI" {
			c.URI = "mongodb://127.0.0.1:1/?replicaSet=rs0"
		}
		a, err := Start(t.Context(), c)
		var bad *ConfigError
		if !errors.As(err, &bad) || bad.Field != want {
			t.Errorf("%s: %v", want, err)
		}
		if a != nil {
			_ = a.StopAndCancel()
			t.Errorf("%s: it was started", want)
		}
	}
}
