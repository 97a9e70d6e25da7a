# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/kube-lab, which sets dir, state and node_name.
# shellcheck disable=SC2154
# Who may do what in the lab: a certification authority of its own, the key that signs service account
# tokens, and a user with a token for each program and each test.

key_days=30
p256=(ec -pkeyopt ec_paramgen_curve:P-256)

make_authority() {
	openssl req -x509 -newkey "${p256[@]}" -nodes -days "$key_days" -subj "/CN=ullage kube-lab" \
		-addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$dir/keys/ca.key" -out "$dir/keys/ca.crt"
}

# make_certificate NAME SUBJECT EXTENSIONS...
make_certificate() {
	local file=$dir/keys/$1 subject=$2
	shift 2
	printf '%s\n' "$@" >"$file.ext"
	openssl req -new -newkey "${p256[@]}" -nodes -subj "$subject" -keyout "$file.key" -out "$file.csr" &&
		openssl x509 -req -in "$file.csr" -CA "$dir/keys/ca.crt" -CAkey "$dir/keys/ca.key" \
			-CAcreateserial -days "$key_days" -extfile "$file.ext" -out "$file.crt" &&
		rm "$file.csr" "$file.ext"
}

make_keys() {
	local names=IP:127.0.0.1,IP:$1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default
	names+=,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
	# One for every server here. etcd also shows it as a client, and so does the API server to etcd.
	make_authority &&
		make_certificate server /CN=ullage-kube-lab "subjectAltName=$names" \
			extendedKeyUsage=serverAuth,clientAuth &&
		make_certificate kubelet-client /O=system:masters/CN=kube-apiserver extendedKeyUsage=clientAuth &&
		openssl ecparam -name prime256v1 -genkey -noout -out "$dir/keys/service-accounts.pem"
}

# add_user FILE NAME [GROUP] : a line of the API server's token file, and a kubeconfig with the token.
add_user() {
	local file=$1 name=$2 token
	token=$(openssl rand -hex 20)
	printf '%s,%s,%s%s\n' "$token" "$name" "$file" "${3:+,$3}" >>"$dir/keys/tokens.csv"
	# In a file: what is on a command line, everyone on the machine can read.
	printf 'Authorization: Bearer %s\n' "$token" >"$state/$file.header"
	cat >"$dir/etc/$file.kubeconfig" <<-END
		apiVersion: v1
		kind: Config
		current-context: lab
		contexts:
		- name: lab
		  context:
		    cluster: lab
		    user: $file
		clusters:
		- name: lab
		  cluster:
		    server: $(server)
		    certificate-authority-data: $(base64 -w 0 "$dir/keys/ca.crt")
		users:
		- name: $file
		  user:
		    token: $token
	END
}

add_users() {
	add_user admin admin system:masters
	add_user restricted restricted
	add_user kube-scheduler system:kube-scheduler
	add_user kube-controller-manager system:kube-controller-manager
	add_user kubelet "system:node:$node_name" system:nodes
}
