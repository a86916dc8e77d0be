package client

import "net/url"

const (
	apiPath   = "/v2alpha1"
	adminPath = apiPath + "/admin"
)

// The paths of the calls that ask about credentials, for [Client.Do].
const (
	VerifyPath      = adminPath + "/apiKeys:verify"
	BatchVerifyPath = adminPath + "/apiKeys:batchVerify"
)

// Kind says where a key was made, and so in which collection of the API it is.
type Kind string

// The kinds of key. The zero value, AnyKind, is the kind that [KindOf] finds by the key's id.
const (
	AnyKind  Kind = ""
	Issued   Kind = "issuedApiKeys"   // made by the server
	Imported Kind = "importedApiKeys" // made elsewhere
)

// importedIDLength is the length of an imported key's id: a hash of 32 bytes in hexadecimal digits.
const importedIDLength = 64

// KindOf tells the kind of a key by its id: that of an issued key is a UUID, that of an imported one has 64 hexadecimal
// digits.
func KindOf(keyID string) Kind {
	if len(keyID) == importedIDLength {
		return Imported
	}
	return Issued
}

// KeyPath is the path of a key's record, for [Client.Do].
func KeyPath(kind Kind, keyID string) string {
	if kind == AnyKind {
		kind = KindOf(keyID)
	}
	return collectionPath(kind) + "/" + url.PathEscape(keyID)
}

func collectionPath(kind Kind) string { return adminPath + "/" + string(kind) }
