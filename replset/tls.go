package replset

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// TLSMode says whether the members speak TLS.
type TLSMode int

// The modes.
const (
	TLSOff    TLSMode = iota
	TLSServer         // clients must use TLS
	TLSMutual         // clients must also show the set's client certificate
)

const clientName = "replset client"

// ClientSubject is the subject of the certificate that ClientTLS and ClientPEM give
// clients to show, and so the Name of the User who logs in with it.
const ClientSubject = "CN=" + clientName

// certificates are a set's, made by an authority of its own whose key is
// forgotten at once.
type certificates struct {
	server, client *tls.Config
	// The client's side again, as PEM; clientPEM is nil where none is to be shown.
	authorityPEM, clientPEM []byte
}

func newCertificates(mode TLSMode) (*certificates, error) {
	c, err := makeCertificates(mode)
	if err != nil {
		return nil, fmt.Errorf("replset: certificates: %w", err)
	}
	return c, nil
}

func makeCertificates(mode TLSMode) (*certificates, error) {
	authority := template("replset authority")
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if authority, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(authority)

	issue := func(cert *x509.Certificate) (tls.Certificate, error) {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return tls.Certificate{}, err
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, authority, own.Public(), key)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}, err
	}
	member := template("replset member")
	member.KeyUsage = x509.KeyUsageDigitalSignature
	member.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	member.DNSNames = []string{"localhost"}
	member.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	shown, err := issue(member)
	if err != nil {
		return nil, err
	}
	c := &certificates{
		server: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{shown}},
		client: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trusted},

		authorityPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}),
	}
	if mode == TLSMutual {
		client := template(clientName)
		client.KeyUsage = x509.KeyUsageDigitalSignature
		client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if shown, err = issue(client); err != nil {
			return nil, err
		}
		c.server.ClientAuth, c.server.ClientCAs = tls.RequireAndVerifyClientCert, trusted
		c.client.Certificates = []tls.Certificate{shown}
		secret, err := x509.MarshalPKCS8PrivateKey(shown.PrivateKey)
		if err != nil {
			return nil, err
		}
		c.clientPEM = append(
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown.Certificate[0]}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	}
	return c, nil
}

// template is a certificate for somebody, with what all of them have.
func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // rand.Reader never fails
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}
