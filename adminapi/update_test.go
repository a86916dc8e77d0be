package adminapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/adminapi/internal/apitest"
	"github.com/talos-edge/talos-edge/adminapi/internal/body"
	"github.com/talos-edge/talos-edge/core"
)

// full is a key of which every field is set that an update can change.
const full = `,"scopes":["a","b"],"metadata":{"plan":"pro"},"ip_restriction":{"allowed_cidrs":["192.0.2.0/24"]},` +
	`"rate_limit_policy":{"quota":5,"unit":"requests","window":"1m"}`

// changeable is what an update can change, as text.
func changeable(k *client.Key) string {
	text := k.Name + " " + strings.Join(k.Scopes, ",") + " " + string(k.Metadata)
	if k.IPRestriction != nil {
		text += " " + strings.Join(k.IPRestriction.AllowedCIDRs, ",")
	}
	if p := k.RateLimitPolicy; p != nil {
		text += " " + string(rune('0'+p.Quota)) + p.Unit + p.Window
	}
	return text
}

func TestAnUpdateChangesWhatItsMaskNamesOrElseWhatItsBodyHolds(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const before = `n a,b {"plan":"pro"} 192.0.2.0/24 5requests60s`
	for name, tc := range map[string]struct{ mask, body, want string }{
		"nothing at all": {"", ``, before},
		"an empty body":  {"", `{}`, before},
		"what is there":  {"", `{"name":"m"}`, `m a,b {"plan":"pro"} 192.0.2.0/24 5requests60s`},
		"all of it": {
			"",
			`{"name":"m","scopes":["c"],"metadata":{},"ip_restriction":{"allowed_cidrs":["::1"]},` +
				`"rate_limit_policy":{"quota":"1","window":"2s"}}`,
			`m c {} ::1/128 12s`,
		},
		"null is absent": {
			"",
			`{"scopes":null,"metadata":null,"ip_restriction":null,"rate_limit_policy":null,"name":null}`,
			before,
		},
		"empty clears": {"", `{"scopes":[],"ip_restriction":{},"rate_limit_policy":{}}`, `n  {"plan":"pro"}`},
		"an empty list clears": {
			"",
			`{"ip_restriction":{"allowed_cidrs":[]},"rate_limit_policy":{"quota":0}}`,
			`n a,b {"plan":"pro"}`,
		},
		"the mask alone counts": {"scopes", `{"name":"m","scopes":["c"]}`,
			`n c {"plan":"pro"} 192.0.2.0/24 5requests60s`,
		},
		"in the mask and absent": {"scopes,metadata,ip_restriction,rate_limit_policy", `{"name":"m"}`, `n  `},
		"in the mask and null": {"scopes,metadata", `{"scopes":null,"metadata":null}`,
			`n   192.0.2.0/24 5requests60s`,
		},
		"a limit in the mask, null": {"rate_limit_policy", `{"rate_limit_policy":null}`,
			`n a,b {"plan":"pro"} 192.0.2.0/24`,
		},
		"a limit in the mask, absent": {"rate_limit_policy", `{}`, `n a,b {"plan":"pro"} 192.0.2.0/24`},
		"in the mask without a body":  {"metadata", ``, `n a,b  192.0.2.0/24 5requests60s`},
		"in the mask twice": {
			"name, scopes ,name", `{"name":"m","scopes":["c"]}`, `m c {"plan":"pro"} 192.0.2.0/24 5requests60s`,
		},
		"in the other form": {
			"", `{"issued_api_key":{"name":"m","scopes":[]}}`, `m  {"plan":"pro"} 192.0.2.0/24 5requests60s`,
		},
		"in it with a mask": {
			"name,scopes",
			`{"issued_api_key":{"name":"m"},"update_mask":"x"}`,
			`m  {"plan":"pro"} 192.0.2.0/24 5requests60s`,
		},
		"in it null": {"", `{"issued_api_key":null,"name":"m"}`, `m a,b {"plan":"pro"} 192.0.2.0/24 5requests60s`},
		"case within metadata": {
			"", `{"issued_api_key":{"metadata":{"a":1,"A":2}}}`, `n a,b {"a":1,"A":2} 192.0.2.0/24 5requests60s`,
		},
		"what cannot be changed": {
			"",
			`{"actor_id":"root","status":"KEY_STATUS_REVOKED","expire_time":"2000-01-01T00:00:00Z","visibility":"X"}`,
			before,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := n.issue(t, full)
			id := made.IssuedAPIKey.KeyID
			if v := n.verify(t, made.Secret); !v.IsValid {
				t.Fatal("a new key is not valid")
			}
			w := apitest.Patch(n.admin, issuedPath+"/"+id, tc.mask, tc.body)
			if w.Code != http.StatusOK {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			k := apitest.Unmarshal[client.Key](t, w.Body.Bytes())
			if changeable(&k) != tc.want || k.KeyID != id || k.ActorID != "a" || k.Status != client.KeyStatusActive {
				t.Errorf("got %q, want %q", changeable(&k), tc.want)
			}
			if now := apitest.Get(n.admin, issuedPath+"/"+id).Body.String(); now != w.Body.String() {
				t.Errorf("stored is %s", now)
			}
			v := n.verify(t, made.Secret)
			if !slices.Equal(v.Scopes, k.Scopes) || string(v.Metadata) != string(k.Metadata) {
				t.Errorf("the verification after it still says %+v", v)
			}
		})
	}
}

func TestAnImportedKeyIsUpdatedInBothForms(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.importKey(t, "raw", full).KeyID
	for _, body := range []string{
		`{"name":"m"}`,
		`{"imported_api_key":{"name":"m","key_id":"` + id + `"},"key_id":"` + id + `"}`,
	} {
		w := apitest.Patch(n.admin, importedPath+"/"+id, "", body)
		if k := apitest.Unmarshal[client.Key](t, w.Body.Bytes()); k.Name != "m" || len(k.Scopes) != 2 {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
	apitest.WantError(t, apitest.Patch(n.admin, issuedPath+"/"+id, "", `{"name":"m"}`),
		http.StatusNotFound, core.KeyNotFound)
}

func TestABodyAboutTheOtherKindOfKeyClearsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	issued, imported := n.issue(t, full).IssuedAPIKey.KeyID, n.importKey(t, "raw", full).KeyID
	writes := n.store.Written()
	for path, name := range map[string]string{
		issuedPath + "/" + issued: "imported_api_key", importedPath + "/" + imported: "issued_api_key",
	} {
		for _, mask := range []string{"", "ip_restriction"} {
			w := apitest.Patch(n.admin, path, mask, `{"`+name+`":{"ip_restriction":{"allowed_cidrs":["10.0.0.0/8"]}}}`)
			apitest.WantError(t, w, http.StatusBadRequest, core.BadRequest)
		}
	}
	if n.store.Written() != writes {
		t.Error("something was written")
	}
}

func TestAttack20_AnUpdateReachesNoOtherField(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.issue(t, full).IssuedAPIKey.KeyID
	writes := n.store.Written()
	for _, mask := range []string{
		"key_id", "actor_id", "status", "visibility", "expire_time", "create_time", "revocation_reason", "network", "*",
		"name,status", "issued_api_key.name", "ip_restriction.allowed_cidrs", "Name", "rateLimitPolicy",
		"name,", ",", " ",
	} {
		e := apitest.WantError(t, apitest.Patch(n.admin, issuedPath+"/"+id, mask, `{"name":"m"}`),
			http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, "update_mask") {
			t.Errorf("%q: got %q", mask, e.Message)
		}
	}
	for body, field := range map[string]string{
		`{"key_id":"` + unknownUUID + `"}`:                        "key_id",
		`{"issued_api_key":{"key_id":"` + unknownUUID + `"}}`:     "key_id",
		`{"key_id":"x","issued_api_key":{"key_id":"` + id + `"}}`: "key_id",
		`{"name":"m","issued_api_key":{"name":"k"}}`:              "issued_api_key",
		`{"name":""}`:                                "name",
		`{"scopes":["a b"]}`:                         "scopes",
		`{"issued_api_key":{"scopes":"a"}}`:          "scopes",
		`{"metadata":[]}`:                            "metadata",
		`{"ip_restriction":{"allowed_cidrs":["x"]}}`: "ip_restriction",
		`{"rate_limit_policy":{"quota":1}}`:          "rate_limit_policy",
		`{"name":"m","NAME":"k"}`:                    "NAME",
	} {
		e := apitest.WantError(t, apitest.Patch(n.admin, issuedPath+"/"+id, "", body),
			http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, field) {
			t.Errorf("%s: the message %q does not name %s", body, e.Message, field)
		}
	}
	apitest.WantError(t, apitest.Patch(n.admin, issuedPath+"/"+id, "name", `{}`),
		http.StatusBadRequest, core.BadRequest)
	r := apitest.Request(http.MethodPatch, issuedPath+"/"+id, `{"scopes":[]}`)
	r.URL.RawQuery = "update_mask=name%zz"
	apitest.WantError(t, apitest.Serve(n.admin, r), http.StatusBadRequest, core.BadRequest)
	if n.store.Written() != writes {
		t.Error("something was written")
	}
	apitest.WantError(t, apitest.Patch(n.admin, issuedPath+"/"+unknownUUID, "", `{"name":"m"}`),
		http.StatusNotFound, core.KeyNotFound)
	apitest.Post(n.admin, anyPath+"/"+id+":revoke", "")
	apitest.WantError(t, apitest.Patch(n.admin, issuedPath+"/"+id, "", `{"name":"m"}`),
		http.StatusConflict, core.FailedPrecondition)
}

func TestARotationInheritsWhatIsAbsentAndOverridesWhatIsThere(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, tc := range map[string]struct{ body, want string }{
		"no body": {``, `n a,b {"plan":"pro"} 192.0.2.0/24 5requests60s`},
		"null": {
			`{"name":null,"scopes":null,"metadata":null,"ip_restriction":null,"rate_limit_policy":null,` +
				`"visibility":null}`,
			`n a,b {"plan":"pro"} 192.0.2.0/24 5requests60s`,
		},
		"everything": {
			`{"name":"m","scopes":["c"],"metadata":{"x":1},"ip_restriction":{"allowed_cidrs":["::/0","0.0.0.0/0"]},` +
				`"rate_limit_policy":{"quota":2,"window":"1s"}}`,
			`m c {"x":1} ::/0,0.0.0.0/0 21s`,
		},
		"everything, empty": {`{"scopes":[],"metadata":{},"ip_restriction":{},"rate_limit_policy":{}}`, `n  {}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := n.issue(t, full+`,"ttl":"1h","request_id":"`+strings.ReplaceAll(name, " ", "-")+`"`)
			if !n.verify(t, made.Secret).IsValid {
				t.Fatal("a new key is not valid")
			}
			w := apitest.Post(n.admin, issuedPath+"/"+made.IssuedAPIKey.KeyID+":rotate", tc.body)
			if w.Code != http.StatusOK {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			apitest.WantHeaders(t, w)
			out := apitest.Unmarshal[client.RotateResponse](t, w.Body.Bytes())
			k := &out.IssuedAPIKey
			if changeable(k) != tc.want || !k.ExpireTime.Equal(made.IssuedAPIKey.ExpireTime) {
				t.Errorf("got %q, want %q", changeable(k), tc.want)
			}
			old := out.OldIssuedAPIKey
			if old.KeyID != made.IssuedAPIKey.KeyID || old.Status != client.KeyStatusRevoked ||
				old.RevocationReason != client.RevocationReasonSuperseded || out.IssuedAPIKey.KeyID == old.KeyID {
				t.Errorf("got %+v", old)
			}
			if v := n.verify(t, made.Secret); v.ErrorCode != client.VerificationErrorRevoked {
				t.Errorf("the old key: %+v", v)
			}
			if v := n.verify(t, out.Secret); !v.IsValid || v.KeyID != out.IssuedAPIKey.KeyID {
				t.Errorf("the new key: %+v", v)
			}
		})
	}
}

func TestARotationIsRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	made := n.issue(t, full)
	at := issuedPath + "/" + made.IssuedAPIKey.KeyID + ":rotate"
	writes := n.store.Written()
	for body, field := range map[string]string{
		`{"name":""}`: "name", `{"scopes":[" "]}`: "scopes",
		`{"metadata":"x"}`: "metadata", `{"visibility":"x"}`: "visibility",
		`{"ip_restriction":{"allowed_cidrs":[""]}}`:      "ip_restriction",
		`{"rate_limit_policy":{"quota":1,"window":"x"}}`: "rate_limit_policy",
	} {
		e := apitest.WantError(t, apitest.Post(n.admin, at, body), http.StatusBadRequest, core.BadRequest)
		if !strings.Contains(e.Message, field) {
			t.Errorf("%s: the message %q does not name %s", body, e.Message, field)
		}
	}
	if n.store.Written() != writes || !n.verify(t, made.Secret).IsValid {
		t.Error("a rotation that was refused changed something")
	}
	apitest.WantError(t, apitest.Post(n.admin, issuedPath+"/"+unknownUUID+":rotate", ""),
		http.StatusNotFound, core.KeyNotFound)
	imported := n.importKey(t, "raw", "").KeyID
	apitest.WantError(t, apitest.Post(n.admin, issuedPath+"/"+imported+":rotate", ""),
		http.StatusNotFound, core.KeyNotFound)
	apitest.Post(n.admin, anyPath+"/"+made.IssuedAPIKey.KeyID+":revoke", "")
	apitest.WantError(t, apitest.Post(n.admin, at, ""), http.StatusConflict, core.FailedPrecondition)
}

func FuzzUpdate(f *testing.F) {
	for _, seed := range [][2]string{
		{"", `{"name":"m","scopes":[],"metadata":{"a":1}}`}, {"name,scopes", `{"issued_api_key":{"name":"x"}}`},
		{"*", `{"ip_restriction":{"allowed_cidrs":["::1"]},"rate_limit_policy":{"quota":"1","window":"1s"}}`},
		{",", `null`},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, mask string, text []byte) {
		var in updateBody
		if body.Object(text, &in) != nil {
			return
		}
		fields, err := in.fields(core.Issued, "id")
		if err != nil {
			return
		}
		out, err := updateRequest(fields, readMask(query{"update_mask": {mask}}))
		if err != nil {
			if core.ReasonOf(err) != core.BadRequest {
				t.Fatal(err)
			}
			return
		}
		for _, path := range out.Mask {
			if mask == "" && !slices.Contains(present(&fields.UpdateRequest), path) {
				t.Fatalf("%s is changed, and does not stand in %s", path, text)
			}
		}
	})
}
