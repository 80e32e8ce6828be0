package mongoconn

import (
	"fmt"
	"slices"
	"strings"
)

// uriOptions are the options that the driver's connection strings have, in lower case.
var uriOptions = strings.Fields(`
	appname authmechanism authmechanismproperties authsource compressors connect directconnection connecttimeoutms
	enableoverloadretargeting heartbeatfrequencyms heartbeatintervalms journal loadbalanced localthresholdms
	maxadaptiveretries maxconnecting maxidletimems maxpoolsize maxstaleness maxstalenessseconds minpoolsize
	readconcernlevel readpreference readpreferencetags replicaset retryreads retrywrites servermonitoringmode
	serverselectiontimeoutms sockettimeoutms srvmaxhosts srvservicename ssl sslcertificateauthorityfile
	sslclientcertificatekeyfile sslclientcertificatekeypassword sslinsecure timeoutms tls tlscafile tlscertificatefile
	tlscertificatekeyfile tlscertificatekeyfilepassword tlsdisablecertificaterevocationcheck
	tlsdisableocspendpointcheck tlsinsecure tlsprivatekeyfile w zlibcompressionlevel zstdcompressionlevel`)

// foreignOptions are those of other languages' drivers, and of older ones, which this driver
// ignores: a connection string may be shared with them. Options that it would be dangerous to
// ignore are not among them.
var foreignOptions = strings.Fields(`
	gssapiservicename slaveok uuidrepresentation waitqueuemultiple waitqueuetimeoutms wtimeout wtimeoutms`)

var readConcerns = []string{"available", "linearizable", "local", "majority", "snapshot"}

// optionPairs splits the options of a connection string, each a name=value.
func optionPairs(query string) []string {
	return strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' })
}

// uriOptionPairs are the options of a connection string. What is before its last @ may be a
// password, with a question mark in it.
func uriOptionPairs(uri string) []string {
	_, query, _ := strings.Cut(uri[strings.LastIndexByte(uri, '@')+1:], "?")
	return optionPairs(query)
}

// checkOptions says what of a connection string's options the driver silently ignores,
// because it is misspelt. The string is one that the driver has accepted.
func checkOptions(uri string) error {
	for _, pair := range uriOptionPairs(uri) {
		name, value, _ := strings.Cut(pair, "=")
		key := strings.ToLower(name)
		switch {
		case slices.Contains(foreignOptions, key):
		case !slices.Contains(uriOptions, key):
			return fmt.Errorf("%s is no option of a connection string that this driver has; correct it, or take it out", name)
		case key == "readconcernlevel" && !slices.Contains(readConcerns, value):
			return fmt.Errorf("readConcernLevel=%s is none; use one of %s", value, strings.Join(readConcerns, ", "))
		}
	}
	return nil
}

// unusedOptions are those of a connection string that are correct, and that the app has settings
// of its own for, or ways.
var unusedOptions = map[string]string{
	"connecttimeoutms":         "Config.ConnectTimeout is",
	"heartbeatfrequencyms":     "Config.Heartbeat is",
	"heartbeatintervalms":      "Config.Heartbeat is",
	"localthresholdms":         "Config.Policy chooses among the hosts",
	"maxpoolsize":              "the pools are as large as Config.PointWorkers, AfterWorkers, OtherWorkers and WriteLanes need",
	"retryreads=false":         "the router asks another host",
	"retrywrites=false":        "the master needs retryable writes to keep order",
	"servermonitoringmode":     "heartbeats are streamed",
	"serverselectiontimeoutms": "Config.ReadTimeout and WriteTimeout are",
	"sockettimeoutms":          "Config.ReadTimeout and WriteTimeout are",
	"waitqueuetimeoutms":       "Config.ReadTimeout and WriteTimeout are",
	"wtimeout":                 "Config.WriteTimeout and each write's deadline are",
	"wtimeoutms":               "Config.WriteTimeout and each write's deadline are",
}

// Unused says, for each option of a connection string that has no effect here, what has
// instead.
func Unused(uri string) (lines []string) {
	for _, pair := range uriOptionPairs(uri) {
		name, value, _ := strings.Cut(pair, "=")
		key := strings.ToLower(name)
		instead := unusedOptions[key]
		if instead == "" {
			instead = unusedOptions[key+"="+strings.ToLower(value)]
		}
		if instead == "" && slices.Contains(foreignOptions, key) {
			instead = "this driver does not know it"
		}
		if instead != "" {
			lines = append(lines, fmt.Sprintf("the URI's %s is not used: %s", name, instead))
		}
	}
	return lines
}

// checkPreference refuses options that mean nothing without a readPreference. The driver does
// too, but as an unknown one whose name is empty: hence this comes before it.
func checkPreference(uri string) error {
	idle := ""
	for _, pair := range uriOptionPairs(uri) {
		switch name, _, _ := strings.Cut(pair, "="); strings.ToLower(name) {
		case "readpreference":
			return nil
		case "maxstalenessseconds", "readpreferencetags":
			idle = name
		}
	}
	if idle != "" {
		return fmt.Errorf("%s needs a readPreference beside it that lets secondaries serve, such as readPreference=secondaryPreferred", idle)
	}
	return nil
}
