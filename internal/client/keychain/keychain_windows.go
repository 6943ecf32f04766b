package keychain

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

const name = "Credential Manager of Windows"

var (
	advapi     = syscall.NewLazyDLL("advapi32.dll")
	credWrite  = advapi.NewProc("CredWriteW")
	credRead   = advapi.NewProc("CredReadW")
	credDelete = advapi.NewProc("CredDeleteW")
	credFree   = advapi.NewProc("CredFree")
)

// Of wincred.h.
const (
	generic      = 1    // CRED_TYPE_GENERIC
	localMachine = 2    // CRED_PERSIST_LOCAL_MACHINE: this user, on this machine
	maxBlob      = 2560 // CRED_MAX_CREDENTIAL_BLOB_SIZE, bytes

	errNotFound syscall.Errno = 1168 // ERROR_NOT_FOUND
)

// A winCredential is CREDENTIALW.
type winCredential struct {
	Flags, Type         uint32
	TargetName, Comment *uint16
	LastWritten         syscall.Filetime
	BlobSize            uint32
	Blob                *byte
	Persist             uint32
	AttributeCount      uint32
	Attributes          uintptr
	TargetAlias         *uint16
	UserName            *uint16
}

func target(key string) (*uint16, error) { return syscall.UTF16PtrFromString("sallyport:" + key) }

func set(key, secret string) error {
	if len(secret) == 0 || len(secret) > maxBlob {
		return fmt.Errorf("keep a secret in the keychain: it takes %d bytes at most", maxBlob)
	}
	at, err := target(key)
	if err != nil {
		return err
	}
	user, err := syscall.UTF16PtrFromString(label)
	if err != nil {
		return err
	}
	blob := []byte(secret)
	c := winCredential{Type: generic, TargetName: at, BlobSize: uint32(len(blob)), Blob: &blob[0], Persist: localMachine, UserName: user}
	if ok, _, err := credWrite.Call(uintptr(unsafe.Pointer(&c)), 0); ok == 0 {
		return fmt.Errorf("keep a secret in the keychain: %w", err)
	}
	return nil
}

func get(key string) (string, error) {
	at, err := target(key)
	if err != nil {
		return "", err
	}
	var c *winCredential
	ok, _, err := credRead.Call(uintptr(unsafe.Pointer(at)), generic, 0, uintptr(unsafe.Pointer(&c)))
	switch {
	case ok == 0 && errors.Is(err, errNotFound):
		return "", ErrUnknown
	case ok == 0:
		return "", fmt.Errorf("read the keychain: %w", err)
	}
	defer credFree.Call(uintptr(unsafe.Pointer(c)))
	if c.BlobSize == 0 {
		return "", ErrUnknown
	}
	return string(unsafe.Slice(c.Blob, c.BlobSize)), nil
}

func remove(key string) error {
	at, err := target(key)
	if err != nil {
		return err
	}
	if ok, _, err := credDelete.Call(uintptr(unsafe.Pointer(at)), generic, 0); ok == 0 && !errors.Is(err, errNotFound) {
		return fmt.Errorf("remove from the keychain: %w", err)
	}
	return nil
}
