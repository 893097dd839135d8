package main_test

// methodRow says what a method is called with and what each role is answered.
type methodRow struct {
	// call returns the fields of a call that names a's things.
	call func(*pair) map[string]any
	// foreign returns those that the other tenant sends, when they differ.
	foreign func(*pair) map[string]any
	// operator is set when the owner's key must be an operator's.
	operator bool
	// ownStatus is the owner's, and ownSees is in the reply.
	ownStatus int
	ownSees   string
	// foreignStatus is the other tenant's. It is 200 where a method answers about
	// the caller's own things, or does not tell whether there was something.
	foreignStatus int
}

// methodRows has a row for each method of the contract.
func methodRows() map[string]methodRow {
	rows := map[string]methodRow{}
	for _, service := range []map[string]methodRow{helloworldRows(), urlRows(), accountRows(), mailRows(), appRows(), functionRows(), keyRows(), tenantRows()} {
		for name, row := range service {
			rows[name] = row
		}
	}
	return rows
}

// none is a call without fields.
func none(*pair) map[string]any { return nil }

func helloworldRows() map[string]methodRow {
	return map[string]methodRow{
		"helloworld.Helloworld.Call": {
			call: func(*pair) map[string]any { return map[string]any{"name": "Jane"} }, ownStatus: 200, ownSees: "Hello Jane", foreignStatus: 200,
		},
		"helloworld.Helloworld.Stream": {
			call: func(*pair) map[string]any { return map[string]any{"name": "Jane", "messages": 2} }, ownStatus: 200, ownSees: "Hello Jane", foreignStatus: 200,
		},
	}
}

func urlRows() map[string]methodRow {
	byID := func(p *pair) map[string]any { return map[string]any{"id": p.name} }
	elsewhere := func(p *pair) map[string]any {
		return map[string]any{"id": p.name, "destinationURL": "https://elsewhere.example/"}
	}
	return map[string]methodRow{
		"url.Url.Create": {
			call: func(p *pair) map[string]any {
				return map[string]any{"id": p.name + "-2", "destinationURL": "https://b.example/"}
			},
			foreign: elsewhere, ownStatus: 200, ownSees: "b.example", foreignStatus: 400,
		},
		"url.Url.Shorten": {
			call:      func(*pair) map[string]any { return map[string]any{"destinationURL": "https://b.example/"} },
			ownStatus: 200, ownSees: "/u/", foreignStatus: 200,
		},
		"url.Url.List": {
			call:      func(p *pair) map[string]any { return map[string]any{"shortURL": p.name} },
			ownStatus: 200, ownSees: marker, foreignStatus: 200,
		},
		"url.Url.Resolve": {call: byID, ownStatus: 200, ownSees: marker, foreignStatus: 404},
		"url.Url.Update":  {call: elsewhere, ownStatus: 200, ownSees: "{}", foreignStatus: 404},
		"url.Url.Delete":  {call: byID, ownStatus: 200, ownSees: "{}", foreignStatus: 200},
	}
}

func accountRows() map[string]methodRow {
	byID := func(p *pair) map[string]any { return map[string]any{"id": p.account} }
	// The other tenant may have a user with the same names: another person.
	newUser := func(p *pair) map[string]any {
		return map[string]any{"id": p.name, "email": p.name + "@example.com", "password": userPassword}
	}
	session := func(p *pair) map[string]any { return map[string]any{"session_id": p.session} }
	return map[string]methodRow{
		"user.User.Create": {call: newUser, ownStatus: 200, ownSees: "@example.com", foreignStatus: 200},
		"user.User.Read":   {call: byID, ownStatus: 200, ownSees: marker, foreignStatus: 404},
		"user.User.Update": {
			call:      func(p *pair) map[string]any { return map[string]any{"id": p.account, "username": "taken-over"} },
			ownStatus: 200, ownSees: "{}", foreignStatus: 404,
		},
		"user.User.Delete": {call: byID, ownStatus: 200, ownSees: "{}", foreignStatus: 200},
		"user.User.List":   {call: none, ownStatus: 200, ownSees: marker, foreignStatus: 200},
		"user.User.Login": {
			call:      func(p *pair) map[string]any { return map[string]any{"email": p.email, "password": userPassword} },
			ownStatus: 200, ownSees: marker, foreignStatus: 401,
		},
		"user.User.Logout": {call: session, ownStatus: 200, ownSees: "{}", foreignStatus: 200},
		"user.User.LogoutAll": {
			call:      func(p *pair) map[string]any { return map[string]any{"user_id": p.account} },
			ownStatus: 200, ownSees: "{}", foreignStatus: 200,
		},
		"user.User.ReadSession": {call: session, ownStatus: 200, ownSees: marker, foreignStatus: 404},
		"user.User.UpdatePassword": {
			call: func(p *pair) map[string]any {
				return map[string]any{"userId": p.account, "old_password": userPassword, "new_password": "another one", "confirm_password": "another one"}
			},
			ownStatus: 200, ownSees: "{}", foreignStatus: 401,
		},
	}
}

// mailRows are the methods that send mail, which the other tenant's calls must
// not do, and those that take what was mailed.
func mailRows() map[string]methodRow {
	mail := func(text string, more map[string]any) func(*pair) map[string]any {
		return func(p *pair) map[string]any {
			fields := map[string]any{"email": p.email, "subject": "Hello", "text_content": text}
			for name, value := range more {
				fields[name] = value
			}
			return fields
		}
	}
	link := "Go to $micro_verification_link"
	return map[string]methodRow{
		"user.User.SendVerificationEmail":  {call: mail(link, nil), ownStatus: 200, ownSees: "{}", foreignStatus: 200},
		"user.User.SendPasswordResetEmail": {call: mail("Code: $code", nil), ownStatus: 200, ownSees: "{}", foreignStatus: 200},
		"user.User.SendMagicLink": {
			call: mail(link, map[string]any{"address": "https://shop.example"}), ownStatus: 200, ownSees: "{}", foreignStatus: 200,
		},
		"user.User.VerifyEmail": {call: once(func(p *pair) map[string]any {
			token := p.mailed("user/sendverificationemail", `token=([\w-]+)`, map[string]any{"text_content": link})
			return map[string]any{"token": token}
		}), ownStatus: 200, ownSees: "{}", foreignStatus: 400},
		"user.User.VerifyToken": {call: once(func(p *pair) map[string]any {
			token := p.mailed("user/sendmagiclink", `token=([\w-]+)`, map[string]any{"text_content": link, "address": "https://shop.example"})
			return map[string]any{"token": token}
		}), ownStatus: 200, ownSees: `"is_valid":true`, foreignStatus: 200},
		"user.User.ResetPassword": {call: once(func(p *pair) map[string]any {
			code := p.mailed("user/sendpasswordresetemail", `Code: (\w+)`, map[string]any{"text_content": "Code: $code"})
			return map[string]any{"email": p.email, "code": code, "new_password": "another one", "confirm_password": "another one"}
		}), ownStatus: 200, ownSees: "{}", foreignStatus: 400},
	}
}

// once makes a call that mails something first do so a single time.
func once(call func(*pair) map[string]any) func(*pair) map[string]any {
	var made map[string]any
	return func(p *pair) map[string]any {
		if made == nil {
			made = call(p)
		}
		return made
	}
}

func appRows() map[string]methodRow {
	byName := func(p *pair) map[string]any { return map[string]any{"name": p.name} }
	return map[string]methodRow{
		"app.App.Reserve": {call: byName, ownStatus: 200, ownSees: "token", foreignStatus: 400},
		"app.App.Regions": {call: none, ownStatus: 200, ownSees: "local", foreignStatus: 200},
		"app.App.Run": {
			call: func(p *pair) map[string]any {
				return map[string]any{"name": p.name + "second", "backend": "http://127.0.0.1:9"}
			},
			foreign: func(p *pair) map[string]any { return map[string]any{"name": p.name, "backend": "http://127.0.0.1:9"} },
			// A name that is taken gets an id of its own.
			ownStatus: 200, ownSees: "second.app.localhost", foreignStatus: 200,
		},
		"app.App.Get": {call: byName, ownStatus: 200, ownSees: marker, foreignStatus: 404},
		"app.App.Update": {
			call: func(p *pair) map[string]any {
				return map[string]any{"name": p.name, "backend": "http://127.0.0.1:9", "env_vars": map[string]string{"B": "b"}}
			},
			ownStatus: 200, ownSees: "{}", foreignStatus: 404,
		},
		"app.App.Delete": {call: byName, ownStatus: 200, ownSees: "{}", foreignStatus: 404},
		"app.App.Status": {call: byName, ownStatus: 200, ownSees: marker, foreignStatus: 404},
		"app.App.List":   {call: none, ownStatus: 200, ownSees: marker, foreignStatus: 200},
		"app.App.Resolve": {
			call: func(p *pair) map[string]any { return map[string]any{"id": p.name} }, ownStatus: 200, ownSees: marker, foreignStatus: 404,
		},
		"app.App.Logs":     {call: byName, ownStatus: 501, ownSees: "registered backend", foreignStatus: 404},
		"app.App.Upload":   {call: noArchive, ownStatus: 415, ownSees: "archive", foreignStatus: 415},
		"app.App.Versions": {call: byName, ownStatus: 200, ownSees: "versions", foreignStatus: 404},
		"app.App.Rollback": {call: byName, ownStatus: 400, ownSees: "registered backend", foreignStatus: 404},
		"app.App.SetCredential": {
			call:      func(p *pair) map[string]any { return map[string]any{"host": "git.example", "password": marker} },
			ownStatus: 200, ownSees: "{}", foreignStatus: 200,
		},
		"app.App.ListCredentials":  {call: withCredential, ownStatus: 200, ownSees: "git.example", foreignStatus: 200},
		"app.App.DeleteCredential": {call: withCredential, ownStatus: 200, ownSees: "{}", foreignStatus: 404},
		"app.App.AddDomain": {
			call:      func(p *pair) map[string]any { return map[string]any{"name": p.name, "domain": "x.app.localhost"} },
			ownStatus: 400, ownSees: "given by this ingress", foreignStatus: 404,
		},
		"app.App.RemoveDomain": {
			call:      func(p *pair) map[string]any { return map[string]any{"name": p.name, "domain": "www.example.com"} },
			ownStatus: 400, ownSees: "no such domain", foreignStatus: 404,
		},
	}
}

// noArchive is a call that an upload refuses: it takes an archive, and no JSON.
func noArchive(*pair) map[string]any { return map[string]any{"data": 1} }

// withCredential names a host that a has a credential for.
func withCredential(p *pair) map[string]any {
	p.must(p.a, "app/SetCredential", map[string]any{"host": "git.example", "password": marker})
	return map[string]any{"host": "git.example"}
}

func functionRows() map[string]methodRow {
	byName := func(p *pair) map[string]any { return map[string]any{"name": p.name} }
	return map[string]methodRow{
		"function.Function.Call": {
			call:      func(p *pair) map[string]any { return map[string]any{"name": p.name, "request": map[string]any{"x": 1}} },
			ownStatus: 200, ownSees: marker, foreignStatus: 404,
		},
		"function.Function.Deploy": {
			call: func(p *pair) map[string]any {
				return map[string]any{"name": p.name + "second", "backend": "http://127.0.0.1:9"}
			},
			foreign:   func(p *pair) map[string]any { return map[string]any{"name": p.name, "backend": "http://127.0.0.1:9"} },
			ownStatus: 200, ownSees: "second.fn.localhost", foreignStatus: 200,
		},
		"function.Function.List":     {call: none, ownStatus: 200, ownSees: marker, foreignStatus: 200},
		"function.Function.Delete":   {call: byName, ownStatus: 200, ownSees: "{}", foreignStatus: 404},
		"function.Function.Describe": {call: byName, ownStatus: 200, ownSees: marker, foreignStatus: 404},
		"function.Function.Update": {
			call:      func(p *pair) map[string]any { return map[string]any{"name": p.name, "backend": "http://127.0.0.1:9"} },
			ownStatus: 200, ownSees: "{}", foreignStatus: 404,
		},
		"function.Function.Proxy": {
			call: func(p *pair) map[string]any { return map[string]any{"id": p.name} }, ownStatus: 200, ownSees: marker, foreignStatus: 404,
		},
		"function.Function.Regions":  {call: none, ownStatus: 200, ownSees: "local", foreignStatus: 200},
		"function.Function.Reserve":  {call: byName, ownStatus: 200, ownSees: "token", foreignStatus: 400},
		"function.Function.Runtimes": {call: none, ownStatus: 200, ownSees: "runtimes", foreignStatus: 200},
		"function.Function.Logs":     {call: byName, ownStatus: 501, ownSees: "registered backend", foreignStatus: 404},
		"function.Function.Upload":   {call: noArchive, ownStatus: 415, ownSees: "archive", foreignStatus: 415},
		"function.Function.Versions": {call: byName, ownStatus: 200, ownSees: "versions", foreignStatus: 404},
		"function.Function.Rollback": {call: byName, ownStatus: 400, ownSees: "registered backend", foreignStatus: 404},
	}
}

func keyRows() map[string]methodRow {
	return map[string]methodRow{
		"api.Keys.Generate": {
			call: func(p *pair) map[string]any {
				return map[string]any{"scopes": []string{"url"}, "tenant": p.aTenant}
			},
			ownStatus: 200, ownSees: "m3o_", foreignStatus: 403,
		},
		"api.Keys.List": {
			call: func(p *pair) map[string]any { return map[string]any{"tenant": p.aTenant} }, ownStatus: 200, ownSees: marker, foreignStatus: 403,
		},
		"api.Keys.Revoke": {
			call: func(p *pair) map[string]any { return map[string]any{"id": p.spareKey} }, ownStatus: 200, ownSees: "{}", foreignStatus: 404,
		},
	}
}

func tenantRows() map[string]methodRow {
	other := func(p *pair) map[string]any { return map[string]any{"tenant": p.name + "-b"} }
	return map[string]methodRow{
		"api.Tenants.Create": {
			call:     func(p *pair) map[string]any { return map[string]any{"name": p.name + "-c"} },
			operator: true, ownStatus: 200, ownSees: "api_key", foreignStatus: 403,
		},
		"api.Tenants.List": {call: none, operator: true, ownStatus: 200, ownSees: "tenants", foreignStatus: 403},
		"api.Tenants.Disable": {
			call: other, foreign: func(p *pair) map[string]any { return map[string]any{"tenant": p.aTenant} },
			operator: true, ownStatus: 200, ownSees: "{}", foreignStatus: 403,
		},
		"api.Tenants.Enable": {call: other, operator: true, ownStatus: 200, ownSees: "{}", foreignStatus: 403},
		"api.Tenants.SetQuotas": {
			call: func(p *pair) map[string]any {
				return map[string]any{"tenant": p.name + "-a", "quotas": map[string]any{"links": 1}}
			},
			operator: true, ownStatus: 200, ownSees: "{}", foreignStatus: 403,
		},
	}
}
