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

// checkOptions says what of a connection string's options the driver silently ignores,
// because it is misspelt or because another option is missing. The string is one that the driver
// has accepted.
func checkOptions(uri string) error {
	rest := uri[strings.LastIndexByte(uri, '@')+1:]
	_, query, _ := strings.Cut(rest, "?")
	for _, pair := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
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

// checkPreference says what the driver says with an empty name.
func checkPreference(uri string) error {
	rest := strings.ToLower(uri[strings.LastIndexByte(uri, '@')+1:])
	_, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "readpreference=") {
		return nil
	}
	for _, name := range []string{"maxStalenessSeconds", "readPreferenceTags"} {
		if strings.Contains(query, strings.ToLower(name)+"=") {
			return fmt.Errorf("%s needs a readPreference beside it that lets secondaries serve, such as readPreference=secondaryPreferred", name)
		}
	}
	return nil
}
