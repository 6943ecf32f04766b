// Package sallyport is a private container registry whose heart is secure
// authentication. A sally port is an entry with two gates of which one is
// always shut. Gate one: who are you? Gate two: what may you do?
//
// The code is laid out in rooms under internal/. Imports go down or sideways as
// listed, never up; house_test.go reads this table and fails when it lies.
// Changing it needs a record in docs/decisions.
//
//	oci           <-
//	access        <- oci
//	blob          <- oci
//	registry      <- oci access blob
//	lastuse       <-
//	account       <- access lastuse
//	outbound      <-
//	federation    <- access outbound
//	token         <- oci access lastuse inbound ledger
//	gc            <- oci blob
//	ledger        <- oci access
//	metadata      <- oci access registry account federation token gc ledger
//	inbound       <- access
//	leak          <- access
//	distribution  <- oci access registry blob inbound ledger
//	client        <- oci access ledger
//	credential    <- access client
//	admin         <- oci access registry account token gc client inbound ledger federation
//	doctor        <- access client
//	ui            <- access account token federation inbound ledger
//	dockerauth    <- access
//	config        <-
//	server        <- *
//
// What a room may use from outside:
//
//	database/sql                  : metadata
//	modernc.org/sqlite            : metadata
//	github.com/jackc/pgx          : metadata
//	github.com/pressly/goose      : metadata
//	github.com/go-jose/go-jose    : federation token
//	github.com/coreos/go-oidc     : federation
//	golang.org/x/oauth2           : federation
//	github.com/go-ldap/ldap       : federation
//	golang.org/x/crypto           : account server
//	html/template                 : ui
//	github.com/klauspost/compress : leak
//	github.com/prometheus         : server
//	github.com/BurntSushi/toml    : doctor
//	go.yaml.in/yaml               : access config dockerauth federation doctor
//	github.com/godbus/dbus        : client
//	net/http                      : inbound outbound federation distribution token admin ui client server
//	os                            : blob federation leak metadata client config server ledger doctor credential
package sallyport
